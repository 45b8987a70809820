//! Writing a dictionary, without formatting machinery: a stamp goes with every request.

use super::{MAX_INTEGER, is_valid_name};

/// Largest decimal, in thousandths.
const MAX_THOUSANDTHS: f64 = 999_999_999_999_999.0;

/// Most digits of a number that is written.
const DIGITS: usize = 15;

/// A dictionary in the making.
pub(super) struct Writer<'t> {
    to: &'t mut String,
    any: bool,
}

// === impl Writer ===

impl<'t> Writer<'t> {
    /// Appends the dictionary to `to`.
    pub fn new(to: &'t mut String) -> Self {
        Self { to, any: false }
    }

    /// A name; nothing, if it is not [valid](is_valid_name).
    pub fn name(&mut self, key: &str, name: &str) {
        if !is_valid_name(name) {
            return;
        }
        self.key(key);
        self.to.push('"');
        let mut rest = name;
        while let Some((plain, special)) = split(rest) {
            self.to.push_str(plain);
            self.to.push('\\');
            self.to.push(if special.starts_with('"') { '"' } else { '\\' });
            rest = special.get(1..).unwrap_or_default();
        }
        self.to.push_str(rest);
        self.to.push('"');
    }

    pub fn token(&mut self, key: &str, token: &str) {
        self.key(key);
        self.to.push_str(token);
    }

    /// A counter: past the largest integer it starts again.
    pub fn integer(&mut self, key: &str, number: u64) {
        self.key(key);
        number_to(self.to, number);
    }

    /// A number of thousandths; nothing, if it is not more than 0, or too large.
    pub fn decimal(&mut self, key: &str, value: f64) {
        let thousandths = (value * 1000.0).round_ties_even();
        if !(1.0..=MAX_THOUSANDTHS).contains(&thousandths) {
            return;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        let thousandths = thousandths as u64;
        self.key(key);
        number_to(self.to, thousandths / 1000);
        self.to.push('.');
        let (tenths, others) = (thousandths / 100 % 10, thousandths % 100);
        number_to(self.to, tenths);
        if others > 0 {
            number_to(self.to, others / 10);
            if others % 10 > 0 {
                number_to(self.to, others % 10);
            }
        }
    }

    /// A list of integers, each with its parameter, a token.
    pub fn list<'a>(
        &mut self,
        key: &str,
        parameter: &str,
        members: impl Iterator<Item = (u64, &'a str)>,
    ) {
        self.key(key);
        self.to.push('(');
        for (index, (number, token)) in members.enumerate() {
            if index > 0 {
                self.to.push(' ');
            }
            number_to(self.to, number);
            self.to.push(';');
            self.to.push_str(parameter);
            self.to.push('=');
            self.to.push_str(token);
        }
        self.to.push(')');
    }

    fn key(&mut self, key: &str) {
        if self.any {
            self.to.push_str(", ");
        }
        self.any = true;
        self.to.push_str(key);
        self.to.push('=');
    }
}

/// `text` up to the first character that needs a backslash, and from there on.
fn split(text: &str) -> Option<(&str, &str)> {
    let at = text.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
    text.split_at_checked(at)
}

/// Appends the digits of `number`, of which RFC 9651 has 15.
fn number_to(to: &mut String, number: u64) {
    let mut text = [b'0'; DIGITS];
    let mut left = number % (MAX_INTEGER + 1);
    let mut first = DIGITS - 1;
    for (index, digit) in text.iter_mut().enumerate().rev() {
        #[allow(clippy::cast_possible_truncation, reason = "one digit")]
        let last = (left % 10) as u8;
        *digit = b'0' + last;
        first = index;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    let digits = text.get(first..).and_then(|digits| std::str::from_utf8(digits).ok());
    to.push_str(digits.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn counters_past_the_largest_integer_start_again() {
        let written = |number| {
            let mut text = String::new();
            number_to(&mut text, number);
            text
        };
        assert_eq!(written(MAX_INTEGER), "999999999999999");
        assert_eq!(written(MAX_INTEGER + 1), "0");
        assert_eq!(written(0), "0");
        assert_eq!(written(1_000), "1000");
    }
}
