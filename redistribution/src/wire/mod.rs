//! The two headers that edges and nodes speak through (design, section 4).
//!
//! Both are RFC 9651 dictionaries. Keys that this version does not know are ignored, so
//! that versions can mix; a malformed header is an [`Error`] that callers count and treat as
//! absent. Whatever bytes come in, nothing here panics.

mod close_request;
mod dictionary;
mod scanner;
mod stamp;
mod writer;

use std::borrow::Cow;

use dictionary::Value;
use scanner::Item;

pub use close_request::{CloseRequest, MAX_CONNECTIONS, NamedConnection};
pub(crate) use scanner::is_token;
pub use stamp::{Position, Stamp};

/// Request header, edge to node: the [`Stamp`].
pub const STAMP_HEADER: &str = "spillway-lb";

/// Response header, node to edge: the [`CloseRequest`].
pub const CLOSE_HEADER: &str = "spillway-close";

/// Longest header value that is parsed at all, in bytes. What Spillway writes stays far below.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// Longest load balancer id or pool name, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The pool of a load balancer that names none.
pub const DEFAULT_POOL: &str = "default";

/// Largest RFC 9651 integer. Counters beyond it wrap, which readers take as a fresh start.
pub const MAX_INTEGER: u64 = 999_999_999_999_999;

/// Why a header is treated as absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Longer than [`MAX_HEADER_BYTES`].
    TooLong,
    /// Not an RFC 9651 dictionary.
    NotADictionary,
    /// A required key is missing.
    Missing(&'static str),
    /// A key has a value of another type or out of range.
    Invalid(&'static str),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {MAX_HEADER_BYTES} bytes"),
            Self::NotADictionary => f.write_str("not an RFC 9651 dictionary"),
            Self::Missing(key) => write!(f, "`{key}` is missing"),
            Self::Invalid(key) => write!(f, "`{key}` has a wrong type or is out of range"),
        }
    }
}

impl std::error::Error for Error {}

/// Whether `name` can stand as a load balancer id or pool name: 1 to 256 printable ASCII
/// characters, which is what an RFC 9651 string can hold.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let printable = |byte: u8| matches!(byte, b' '..=b'~');
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(printable)
}

/// The [valid](is_valid_name) name that `value` holds.
fn name_of<'h>(value: &Value<'h>) -> Option<Cow<'h, str>> {
    let Value::Item(Item::String(text)) = value else {
        return None;
    };
    let text = std::str::from_utf8(text).ok()?;
    let name = if text.contains('\\') { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) };
    is_valid_name(&name).then_some(name)
}

/// `text` without the backslashes in front of quotes and backslashes.
fn unescaped(text: &str) -> String {
    let mut escaped = false;
    let keep = |character: &char| {
        escaped = *character == '\\' && !escaped;
        !escaped
    };
    text.chars().filter(keep).collect()
}
