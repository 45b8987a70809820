//! The syntax of RFC 9651, section 4.2, byte by byte.
//!
//! What Spillway understands comes back as a value that borrows from the header. All the rest is
//! checked as the RFC has it, and skipped: a header is malformed or not, whoever reads it.

/// Where in the header reading goes on.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'h> {
    rest: &'h [u8],
}

/// An item without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'h> {
    Integer(i64),
    /// In thousandths.
    Decimal(i64),
    /// What stands between the quotes.
    String(&'h [u8]),
    Token(&'h [u8]),
    /// One of a type that neither header has.
    Other,
}

/// Most digits of an integer, and of a decimal in front of its point.
const INTEGER_DIGITS: usize = 15;
const WHOLE_DIGITS: usize = 12;

// === impl Scanner ===

impl<'h> Scanner<'h> {
    pub fn new(header: &'h [u8]) -> Self {
        Self { rest: header }
    }

    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes the next byte, if it is `byte`.
    pub fn take(&mut self, byte: u8) -> Option<()> {
        let rest = self.rest.strip_prefix(&[byte])?;
        self.rest = rest;
        Some(())
    }

    /// Takes bytes as long as they are among these.
    pub fn take_while(&mut self, among: impl Fn(u8) -> bool) -> &'h [u8] {
        let end = self.rest.iter().position(|byte| !among(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// Takes all that was read since `start`, an earlier state of this scanner.
    pub fn since(&self, start: &Self) -> &'h [u8] {
        let read = start.rest.len().saturating_sub(self.rest.len());
        start.rest.get(..read).unwrap_or_default()
    }

    /// The key of an entry or parameter.
    pub fn key(&mut self) -> Option<&'h [u8]> {
        let starts = |byte: u8| byte.is_ascii_lowercase() || byte == b'*';
        let goes_on =
            |byte: u8| starts(byte) || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
        self.peek().filter(|byte| starts(*byte))?;
        Some(self.take_while(goes_on))
    }

    /// An item without its parameters.
    pub fn item(&mut self) -> Option<Item<'h>> {
        match self.peek()? {
            b'"' => self.string().map(Item::String),
            b'-' | b'0'..=b'9' => self.number(),
            b'?' => self.boolean(),
            b':' => self.byte_sequence(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            first if is_token_start(first) => Some(Item::Token(self.take_while(is_token_part))),
            _ => None,
        }
    }

    /// Parameters up to their end; each goes to `each`.
    pub fn parameters(&mut self, mut each: impl FnMut(&'h [u8], Item<'h>)) -> Option<()> {
        while self.take(b';').is_some() {
            self.take_while(|byte| byte == b' ');
            let key = self.key()?;
            let value = self.value_or(Item::Other, Self::item)?;
            each(key, value);
        }
        Some(())
    }

    /// What `read` makes of the value behind a key; `alone` for a key without, which stands for a
    /// boolean.
    pub fn value_or<T>(
        &mut self,
        alone: T,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        if self.take(b'=').is_some() { read(self) } else { Some(alone) }
    }

    fn string(&mut self) -> Option<&'h [u8]> {
        self.take(b'"')?;
        let start = self.clone();
        loop {
            self.take_while(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
            let text = self.since(&start);
            match self.take_any()? {
                b'"' => return Some(text),
                b'\\' if matches!(self.take_any()?, b'"' | b'\\') => {}
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<Item<'h>> {
        let sign = if self.take(b'-').is_some() { -1 } else { 1 };
        let whole = self.take_while(|byte| byte.is_ascii_digit());
        let number = digits(whole);
        if self.take(b'.').is_none() {
            let fits = (1..=INTEGER_DIGITS).contains(&whole.len());
            return fits.then_some(Item::Integer(sign * number));
        }
        let part = self.take_while(|byte| byte.is_ascii_digit());
        let scale = match part.len() {
            1 => 100,
            2 => 10,
            3 => 1,
            _ => return None,
        };
        let fits = (1..=WHOLE_DIGITS).contains(&whole.len());
        fits.then(|| Item::Decimal(sign * (number * 1000 + digits(part) * scale)))
    }

    fn boolean(&mut self) -> Option<Item<'h>> {
        self.take(b'?')?;
        matches!(self.take_any()?, b'0' | b'1').then_some(Item::Other)
    }

    fn date(&mut self) -> Option<Item<'h>> {
        self.take(b'@')?;
        matches!(self.number()?, Item::Integer(_)).then_some(Item::Other)
    }

    fn byte_sequence(&mut self) -> Option<Item<'h>> {
        self.take(b':')?;
        let symbols = self
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
            .len();
        let padding = self.take_while(|byte| byte == b'=').len();
        self.take(b':')?;
        // Padding may be left out, and one symbol is no byte.
        let missing = symbols.wrapping_neg() % 4;
        (missing < 3 && padding <= missing).then_some(Item::Other)
    }

    fn display_string(&mut self) -> Option<Item<'h>> {
        self.take(b'%')?;
        self.take(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.take_any()? {
                b'"' => return std::str::from_utf8(&text).is_ok().then_some(Item::Other),
                b'%' => text.push(self.hex_digit()? << 4 | self.hex_digit()?),
                byte @ b' '..=b'~' => text.push(byte),
                _ => return None,
            }
        }
    }

    fn hex_digit(&mut self) -> Option<u8> {
        match self.take_any()? {
            digit @ b'0'..=b'9' => Some(digit - b'0'),
            digit @ b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        }
    }

    fn take_any(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }
}

/// Whether `text` is a token.
pub(crate) fn is_token(text: &[u8]) -> bool {
    text.first().is_some_and(|first| is_token_start(*first))
        && text.iter().all(|byte| is_token_part(*byte))
}

fn is_token_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'*'
}

fn is_token_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}

/// The number that these digits are, as long as there are not too many of them.
fn digits(text: &[u8]) -> i64 {
    text.iter().fold(0, |number: i64, digit| {
        number.wrapping_mul(10).wrapping_add(i64::from(digit.wrapping_sub(b'0')))
    })
}
