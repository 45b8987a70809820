//! Durations as people write them, such as `90s` or `1h 30m`.
//!
//! These are the spellings that the `humantime` library takes, which the tests compare with. It would
//! be a good part of a module's size for a few words that are read once.

use std::fmt;
use std::time::Duration;

/// A unit, by the names it goes by.
struct Unit {
    names: &'static [&'static str],
    nanos: u64,
    /// What a fraction of it must come out in.
    step_nanos: u64,
}

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

const UNITS: [Unit; 10] = [
    Unit::new(&["ns", "nsec", "nanos"], 1, 1),
    Unit::new(&["us", "usec", "\u{b5}s"], 1_000, 1),
    Unit::new(&["ms", "msec", "millis"], 1_000_000, 1),
    Unit::new(&["s", "sec", "secs", "second", "seconds"], SECOND, 1),
    Unit::new(&["m", "min", "mins", "minute", "minutes"], 60 * SECOND, 1),
    Unit::new(&["h", "hr", "hrs", "hour", "hours"], 3_600 * SECOND, SECOND),
    Unit::new(&["d", "day", "days"], DAY, SECOND),
    Unit::new(&["w", "wk", "wks", "week", "weeks"], 7 * DAY, SECOND),
    // 30.44 and 365.25 days.
    Unit::new(&["M", "month", "months"], 2_630_016 * SECOND, SECOND),
    Unit::new(&["y", "yr", "yrs", "year", "years"], 31_557_600 * SECOND, SECOND),
];

/// How durations are shown: in units by these names, and what is added to these of several.
const SHOWN: [(&str, &str, u64); 9] = [
    ("year", "s", 31_557_600 * SECOND),
    ("month", "s", 2_630_016 * SECOND),
    ("day", "s", DAY),
    ("h", "", 3_600 * SECOND),
    ("m", "", 60 * SECOND),
    ("s", "", SECOND),
    ("ms", "", 1_000_000),
    ("us", "", 1_000),
    ("ns", "", 1),
];

/// A duration to be shown, as it can be read again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown(pub Duration);

/// The duration that `text` tells; `None` also where it is longer than 500 years.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut nanos, mut rest) = (0_u64, text);
    loop {
        let (number, digits) = take_number(&mut rest)?;
        if digits == 0 {
            // Nothing may be left, and something must have been there.
            return (rest.is_empty() && !text.trim().is_empty())
                .then(|| Duration::from_nanos(nanos));
        }
        let fraction = match rest.strip_prefix('.') {
            None => None,
            Some(behind) => {
                rest = behind;
                Some(take_number(&mut rest)?)
            }
        };
        let unit = take_unit(&mut rest)?;
        nanos = nanos.checked_add(number.checked_mul(unit.nanos)?)?;
        if let Some((numerator, digits)) = fraction {
            nanos = nanos.checked_add(unit.part(numerator, digits)?)?;
        }
    }
}

/// Takes digits off the start of `text`, and any white space among them: their number, and how many
/// there are.
fn take_number(text: &mut &str) -> Option<(u64, u32)> {
    let (mut number, mut digits) = (0_u64, 0);
    loop {
        let mut characters = text.chars();
        match characters.next() {
            Some(character) if character.is_whitespace() => {}
            Some(character) => match character.to_digit(10) {
                Some(digit) => {
                    number = number.checked_mul(10)?.checked_add(digit.into())?;
                    digits += 1;
                }
                None => return Some((number, digits)),
            },
            None => return Some((number, digits)),
        }
        *text = characters.as_str();
    }
}

fn take_unit(text: &mut &str) -> Option<&'static Unit> {
    let is_letter = |character: char| character.is_ascii_alphabetic() || character == '\u{b5}';
    let end = text.find(|character| !is_letter(character)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    *text = rest;
    UNITS.iter().find(|unit| unit.names.contains(&name))
}

// === impl Unit ===

impl Unit {
    const fn new(names: &'static [&'static str], nanos: u64, step_nanos: u64) -> Self {
        Self { names, nanos, step_nanos }
    }

    /// Nanoseconds of so many tenths, hundredths and so on; `None` where these are no whole steps.
    fn part(&self, numerator: u64, digits: u32) -> Option<u64> {
        let denominator = 10_u64.checked_pow(digits).filter(|denominator| *denominator > 1)?;
        let steps = numerator.checked_mul(self.nanos / self.step_nanos)?;
        let whole = self.nanos > 1 && steps.is_multiple_of(denominator);
        whole.then(|| steps / denominator * self.step_nanos)
    }
}

// === impl Shown ===

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        let mut between = "";
        for (name, plural, unit) in SHOWN {
            let count = left / unit;
            left %= unit;
            if count > 0 {
                write!(f, "{between}{count}{name}{}", if count > 1 { plural } else { "" })?;
                between = " ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn what_people_write_is_read() {
        let cases = [
            ("90s", 90_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("1.5s", 1_500),
            ("2 days", 172_800_000),
            ("0.5 min 250ms", 30_250),
            ("0", 0),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", " ", "90", "s", "-1s", "1.s", ".5s", "1x", "1s,", "99999999999y", "0.5ns"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for (millis, text) in [(0, "0s"), (90_000, "1m 30s"), (86_400_000, "1day"), (100, "100ms")]
        {
            let duration = Duration::from_millis(millis);
            assert_eq!(Shown(duration).to_string(), text);
            assert_eq!(parse(text), Some(duration));
        }
    }

    /// Any durations, by the library that is taken for granted.
    #[cfg(not(target_family = "wasm"))]
    mod as_the_library_has_it {
        use proptest::prelude::*;
        use proptest::sample::select;

        use super::*;

        const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);

        const PIECES: &[&str] = &[
            "0",
            "1",
            "5",
            "7",
            "25",
            "60",
            "000001",
            "18446744073",
            "99999999999999999999",
            ".",
            " ",
            "\u{2003}",
            "-",
            "+",
            "e",
            "ns",
            "nsec",
            "nanos",
            "us",
            "usec",
            "\u{b5}s",
            "ms",
            "msec",
            "millis",
            "s",
            "sec",
            "secs",
            "second",
            "seconds",
            "m",
            "min",
            "mins",
            "minute",
            "minutes",
            "h",
            "hr",
            "hrs",
            "hour",
            "hours",
            "d",
            "day",
            "days",
            "w",
            "wk",
            "wks",
            "week",
            "weeks",
            "M",
            "month",
            "months",
            "y",
            "yr",
            "yrs",
            "year",
            "years",
            "S",
            "x",
        ];

        fn check(text: &str) -> Result<(), TestCaseError> {
            let expected = humantime::parse_duration(text).ok();
            let (expected, found) = (expected.filter(|d| *d <= LONGEST), parse(text));
            prop_assert_eq!(found.filter(|d| *d <= LONGEST), expected, "{:?}", text);
            Ok(())
        }

        #[test]
        fn two_pieces_and_three() {
            for first in PIECES {
                for second in PIECES {
                    check(&format!("{first}{second}")).unwrap();
                    for third in PIECES {
                        check(&format!("{first}{second}{third}")).unwrap();
                    }
                }
            }
        }

        proptest! {
            #![proptest_config(ProptestConfig::with_cases(20_000))]

            #[test]
            fn more_pieces(pieces in proptest::collection::vec(select(PIECES), 0..8)) {
                check(&pieces.concat())?;
            }

            #[test]
            fn fractions(text in "[0-9]{0,3}\\.[0-9]{1,6} ?(ns|us|ms|s|m|h|d|w|M|y)") {
                check(&text)?;
            }

            #[test]
            fn shown(secs in prop_oneof![0..100_000_u64, 0..3_000_000_000_u64], nanos in 0..1_000_000_000_u32) {
                for nanos in [0, nanos, nanos - nanos % 1_000_000] {
                    let duration = Duration::new(secs, nanos);
                    let expected = humantime::format_duration(duration).to_string();
                    prop_assert_eq!(Shown(duration).to_string(), expected);
                }
            }
        }
    }
}
