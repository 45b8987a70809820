//! What the user is told of each bad configuration, in `snapshots/`: read them as documentation.

use std::fmt::Write;

use anyhow::Result;

use crate::bad::{Bad, Filter};

/// Longest part of a configuration that is shown, in characters.
const SHOWN: usize = 400;

fn shown(bad: &Bad) -> String {
    // As JSON or Rust would write it, where it cannot be seen.
    let text = String::from_utf8_lossy(&bad.bytes);
    let visible = |c: char| match c {
        '\n' => c.to_string(),
        c if c.is_control() || c == '\u{feff}' => c.escape_default().to_string(),
        c => c.to_string(),
    };
    let shown: String = text.chars().take(SHOWN).map(visible).collect();
    if text.chars().count() > SHOWN {
        let shown: String = text.chars().take(40).map(visible).collect();
        return format!("{shown} … ({} bytes)", bad.bytes.len());
    }
    shown
}

/// All of a filter, each with its message.
fn all(filter: Filter) -> Result<String> {
    let mut text = String::new();
    for bad in filter.bad() {
        let mistakes = filter.parse(&bad.bytes).expect_err(bad.what).to_string();
        writeln!(text, "# {}\n{}\n---", bad.what, shown(&bad))?;
        let lines: Vec<_> = mistakes.lines().collect();
        match lines.as_slice() {
            [title, first, second, .., last] if lines.len() > 25 => {
                writeln!(text, "{title}\n{first}\n{second}\n  (and so on, up to 100)\n{last}")?;
            }
            _ => writeln!(text, "{mistakes}")?,
        }
        writeln!(text)?;
    }
    Ok(text)
}

fn check(filter: Filter, name: &str) -> Result<()> {
    let all = all(filter)?;
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, all);
    });
    Ok(())
}

#[test]
fn each_bad_configuration_of_the_node_filter_has_its_message() -> Result<()> {
    check(Filter::Node, "node_filter")
}

#[test]
fn each_bad_configuration_of_the_lb_filter_has_its_message() -> Result<()> {
    check(Filter::Lb, "lb_filter")
}

#[test]
fn no_message_is_long_or_can_play_tricks_on_a_terminal() {
    for filter in [Filter::Lb, Filter::Node] {
        for Bad { what, bytes } in filter.bad() {
            let mistakes = filter.parse(&bytes).expect_err(what);
            let text = mistakes.to_string();
            assert!(mistakes.as_slice().len() <= 100 && text.len() < 30_000, "{what}: {text}");
            for line in text.lines() {
                assert!(line.chars().count() < 400, "{what}: {line}");
                assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{what}");
            }
        }
    }
}
