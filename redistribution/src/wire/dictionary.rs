//! Reading the entries of a dictionary whose keys are known, without building the dictionary.

use super::scanner::{Item, Scanner};
use super::{Error, MAX_HEADER_BYTES};

/// What a known key was found to hold. Where a key comes twice, the last one counts (RFC 9651).
#[derive(Clone, Debug, Default)]
pub(super) enum Value<'h> {
    #[default]
    Absent,
    Item(Item<'h>),
    InnerList(Members<'h>),
}

/// An item of an inner list, with the value of the one parameter that is of interest.
#[derive(Debug)]
pub(super) struct Member<'h> {
    pub item: Item<'h>,
    pub parameter: Option<Item<'h>>,
}

/// The members of an inner list, which was read to its end before.
#[derive(Clone, Debug)]
pub(super) struct Members<'h> {
    /// From behind the opening parenthesis on.
    list: Scanner<'h>,
    parameter: &'static str,
}

/// The keys to look for, in the order of the values returned.
pub(super) struct Schema<const N: usize> {
    pub keys: [&'static str; N],
    /// The parameter kept for members of inner lists.
    pub parameter: &'static str,
}

// === impl Schema ===

impl<const N: usize> Schema<N> {
    /// Reads `header`; unknown keys and parameters are checked for syntax and skipped.
    pub fn read<'h>(&self, header: &'h [u8]) -> Result<[Value<'h>; N], Error> {
        if header.len() > MAX_HEADER_BYTES {
            return Err(Error::TooLong);
        }
        let mut values = [const { Value::Absent }; N];
        let keys = self.keys.iter();
        let entry = |key: &[u8], value| {
            let known = keys.clone().zip(&mut values).find(|(known, _)| known.as_bytes() == key);
            if let Some((_, known)) = known {
                *known = value;
            }
        };
        entries(Scanner::new(header), self.parameter, entry).ok_or(Error::NotADictionary)?;
        Ok(values)
    }
}

/// Has `each` see the entries of the dictionary; `None` if it is none.
fn entries<'h>(
    mut header: Scanner<'h>,
    parameter: &'static str,
    mut each: impl FnMut(&'h [u8], Value<'h>),
) -> Option<()> {
    header.take_while(|byte| byte == b' ');
    if header.peek().is_none() {
        return Some(());
    }
    loop {
        let key = header.key()?;
        let value = header.value_or(Value::Item(Item::Other), |header| {
            if header.take(b'(').is_none() {
                return header.item().map(Value::Item);
            }
            let members = Members { list: header.clone(), parameter };
            while !is_at_end(header) {
                member(header, parameter)?;
            }
            Some(Value::InnerList(members))
        })?;
        header.parameters(|_, _| {})?;
        each(key, value);
        header.take_while(is_white);
        if header.peek().is_none() {
            return Some(());
        }
        header.take(b',')?;
        header.take_while(is_white);
    }
}

/// Whether an inner list has no more members; takes its end then.
fn is_at_end(list: &mut Scanner<'_>) -> bool {
    list.take_while(|byte| byte == b' ');
    list.take(b')').is_some()
}

/// The next member of an inner list.
fn member<'h>(list: &mut Scanner<'h>, parameter: &str) -> Option<Member<'h>> {
    let mut member = Member { item: list.item()?, parameter: None };
    list.parameters(|key, value| {
        if key == parameter.as_bytes() {
            member.parameter = Some(value);
        }
    })?;
    list.peek().filter(|byte| matches!(byte, b' ' | b')'))?;
    Some(member)
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

// === impl Members ===

impl<'h> Iterator for Members<'h> {
    type Item = Member<'h>;

    fn next(&mut self) -> Option<Member<'h>> {
        if is_at_end(&mut self.list) { None } else { member(&mut self.list, self.parameter) }
    }
}
