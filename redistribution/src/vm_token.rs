//! The random name of one Wasm VM.

use std::fmt;

use crate::wire::is_token;

/// Longest token taken: tokens are kept in place, so that a table of them allocates nothing.
const CAPACITY: usize = 31;

/// Names one Wasm VM of a load balancer: random, new for every VM and after each restart,
/// so that counters that start again from 0 are never compared with older ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmToken {
    bytes: [u8; CAPACITY],
    len: u8,
}

impl VmToken {
    /// The token of a VM that drew the number `random`.
    #[must_use]
    pub fn from_random(random: u64) -> Self {
        // An RFC 9651 token starts with a letter.
        let mut token = Self { bytes: [0; CAPACITY], len: 17 };
        let digits = (0..16).rev().map(|place| hex_digit(random >> (4 * place)));
        for (to, from) in token.bytes.iter_mut().zip(std::iter::once(b'v').chain(digits)) {
            *to = from;
        }
        token
    }

    /// The token spelled `text`; `None` if that is no RFC 9651 token of at most 31 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        is_token(text).then(|| Self::from_token(text)).flatten()
    }

    /// The token as parsed from a header; `None` if it is longer than 31 bytes.
    pub(crate) fn from_token(token: &[u8]) -> Option<Self> {
        let len = u8::try_from(token.len()).ok()?;
        let mut bytes = [0; CAPACITY];
        bytes.get_mut(..token.len())?.copy_from_slice(token);
        Some(Self { bytes, len })
    }

    /// The token's spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..usize::from(self.len))
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
            .unwrap_or_default()
    }
}

/// The last hexadecimal digit of `number`.
fn hex_digit(number: u64) -> u8 {
    #[allow(clippy::cast_possible_truncation, reason = "four bits")]
    let digit = (number & 15) as u8;
    if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
}

impl fmt::Display for VmToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for VmToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VmToken({self})")
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn random_tokens_are_spelled_and_read_back() {
        for random in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let token = VmToken::from_random(random);
            assert_eq!(VmToken::parse(token.as_str()), Some(token));
        }
        assert_eq!(VmToken::from_random(255).as_str(), "v00000000000000ff");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in ["", "1abc", "a b", "a,b", "ä", &"a".repeat(32)] {
            assert_eq!(VmToken::parse(text), None, "{text:?}");
        }
    }
}
