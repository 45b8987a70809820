//! The name that somebody may have meant.

/// The one of `names` that `written` is likely a misspelling of.
///
/// Likely is at most a third of its letters: one left out, put in, changed, or swapped with the next.
/// How words are joined does not count: `closeRate` and `close-rate` are `close_rate`.
pub(super) fn nearest(written: &str, names: &[&'static str]) -> Option<&'static str> {
    // What is much longer than a name is none.
    let written = written.get(..LONGEST).is_none().then(|| letters(written))?;
    let distances = names.iter().map(|name| {
        let name_letters = letters(name);
        let allowed = name_letters.len().max(written.len()).max(3) / 3;
        (distance(&written, &name_letters), allowed, *name)
    });
    let near = distances.filter(|(distance, allowed, _)| distance <= allowed);
    near.min_by_key(|(distance, ..)| *distance).map(|(.., name)| name)
}

/// In bytes.
const LONGEST: usize = 64;

fn letters(name: &str) -> Vec<char> {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.'));
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// How many changes make one of the other (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    // Row `i` has the distances of the first `i` letters of `a` from the beginnings of `b`.
    let mut above_that: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX);
            let changed = at(&above, j).saturating_add(usize::from(from != to));
            let left_out = at(&above, j + 1).saturating_add(1);
            let put_in = at(&row, j).saturating_add(1);
            let mut least = changed.min(left_out).min(put_in);
            if i > 0 && j > 0 && a.get(i - 1) == Some(to) && b.get(j - 1) == Some(from) {
                least = least.min(at(&above_that, j - 1).saturating_add(1));
            }
            row.push(least);
        }
        above_that = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const NAMES: [&str; 4] = ["mode", "close_rate", "share", "share_window"];

    #[test]
    fn misspellings_are_found() {
        for (written, name) in [
            ("mdoe", "mode"),
            ("mod", "mode"),
            ("modes", "mode"),
            ("Mode", "mode"),
            ("closeRate", "close_rate"),
            ("close-rate", "close_rate"),
            ("close_rat", "close_rate"),
            ("clsoe_raet", "close_rate"),
            ("share_windwo", "share_window"),
            ("shares", "share"),
        ] {
            assert_eq!(nearest(written, &NAMES), Some(name), "{written}");
        }
    }

    #[test]
    fn what_is_near_to_nothing_is_left_alone() {
        let long = "mode".repeat(1000);
        for written in ["", "x", "weight", "m", "window", "ä", long.as_str()] {
            assert_eq!(nearest(written, &NAMES), None, "{written}");
        }
        assert_eq!(nearest("mode", &[]), None);
    }

    #[test]
    fn distances_are_those_of_the_book() {
        let of = |a: &str, b: &str| distance(&letters(a), &letters(b));
        assert_eq!(of("", ""), 0);
        assert_eq!(of("abc", ""), 3);
        assert_eq!(of("", "abc"), 3);
        assert_eq!(of("kitten", "sitting"), 3);
        assert_eq!(of("ca", "ac"), 1);
        assert_eq!(of("ca", "abc"), 3);
    }
}
