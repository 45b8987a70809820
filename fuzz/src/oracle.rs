//! What a header says according to `sfv`, which reads it as a whole.

use redistribution::VmToken;
use redistribution::wire::{MAX_HEADER_BYTES, MAX_NAME_BYTES};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

/// The dictionary that `header` is, if it is one and not too long.
pub fn dictionary(header: &[u8]) -> Option<Dictionary> {
    if header.len() > MAX_HEADER_BYTES {
        return None;
    }
    Parser::new(header).parse().ok()
}

/// The item under `key` as `read` takes it, if there is one; `None` where it is another than that, or
/// a list.
#[allow(clippy::option_option, reason = "what is wrong is not what is absent")]
pub fn item<T>(
    dictionary: &Dictionary,
    key: &str,
    read: impl Fn(&BareItem) -> Option<T>,
) -> Option<Option<T>> {
    match dictionary.get(key) {
        None => Some(None),
        Some(ListEntry::Item(item)) => read(&item.bare_item).map(Some),
        Some(ListEntry::InnerList(_)) => None,
    }
}

pub fn number(item: &BareItem) -> Option<f64> {
    match item {
        BareItem::Decimal(number) => Some(f64::from(*number)),
        BareItem::Integer(number) => Some(i64::from(*number) as f64),
        _ => None,
    }
}

pub fn unsigned(item: &BareItem) -> Option<u64> {
    match item {
        BareItem::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

pub fn name(item: &BareItem) -> Option<String> {
    match item {
        BareItem::String(text) if (1..=MAX_NAME_BYTES).contains(&text.as_str().len()) => {
            Some(text.as_str().to_owned())
        }
        _ => None,
    }
}

pub fn token(item: &BareItem) -> Option<VmToken> {
    match item {
        BareItem::Token(token) => VmToken::parse(token.as_str()),
        _ => None,
    }
}
