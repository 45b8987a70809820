//! `docs/host-calls.md`, read: the tables there are what the tests hold the filters to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result};
use integration::artifacts::workspace;

use crate::cases::Counts;

/// See the module's documentation.
pub struct Documented {
    /// Calls by case.
    pub cases: BTreeMap<String, Counts>,
    /// Exports by module.
    pub exports: BTreeMap<String, BTreeSet<String>>,
}

// === impl Documented ===

impl Documented {
    /// Reads the file: each `### ` heads a case with a table of calls, or a module with one of exports.
    pub fn read() -> Result<Self> {
        let path = workspace().join("docs/host-calls.md");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let (mut cases, mut exports) = (BTreeMap::new(), BTreeMap::new());
        for section in text.split("\n### ").skip(1) {
            let (title, rest) = section.split_once('\n').context("a title without a text")?;
            // Up to the next part of the document.
            let table = rest.split("\n## ").next().unwrap_or_default();
            let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
            let rows = rows.map(|row| row.split_once("` |").context("a row has no first cell"));
            if let Some(module) = title.strip_prefix("Exports of ") {
                let names: Result<_> = rows.map(|row| Ok(row?.0.to_owned())).collect();
                exports.insert(module.trim_matches('`').to_owned(), names?);
            } else {
                let counts: Result<Counts> = rows
                    .map(|row| {
                        let (call, rest) = row?;
                        let times = rest.split('|').next().unwrap_or_default().trim();
                        Ok((
                            call.to_owned(),
                            times.parse().with_context(|| format!("{title}: {rest}"))?,
                        ))
                    })
                    .collect();
                cases.insert(title.to_owned(), counts?);
            }
        }
        Ok(Self { cases, exports })
    }
}

/// How a case is to be written there.
pub fn table(case: &str, counts: &Counts) -> String {
    let mut text = format!("### {case}\n\n| call | times | why |\n|---|---|---|\n");
    for (call, times) in counts {
        let _ = writeln!(text, "| `{call}` | {times} |  |");
    }
    text
}
