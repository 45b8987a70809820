//! The random name of one Wasm VM.

use std::fmt;

use sfv::TokenRef;

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
        let hex = format!("v{random:016x}");
        for (to, from) in token.bytes.iter_mut().zip(hex.bytes()) {
            *to = from;
        }
        token
    }

    /// The token spelled `text`; `None` if that is no RFC 9651 token of at most 31 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        TokenRef::from_str(text).ok().and_then(Self::from_token)
    }

    /// The token as parsed from a header; `None` if it is longer than 31 bytes.
    pub(crate) fn from_token(token: &TokenRef) -> Option<Self> {
        let text = token.as_str();
        let len = u8::try_from(text.len()).ok()?;
        let mut bytes = [0; CAPACITY];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
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
