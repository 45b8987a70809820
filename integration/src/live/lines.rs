//! A run as lines of text: for CI logs, pipes and `--headless`.
//!
//! One line per sample, with columns that stay where they are, so that a log can be read down
//! a column. The same result that ends such a log is printed when the screen is left.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, Result};

use super::View;
use crate::report::{EdgeName, LoadTable, Sample, Summary, Timeline, grouped};

/// A view that writes one line per sample, and one per event.
pub struct Lines<W> {
    out: W,
    names: Vec<EdgeName>,
}

// === impl Lines ===

impl<W: Write + Send> Lines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, names: Vec::new() }
    }
}

impl<W: Write + Send> View for Lines<W> {
    fn sample(&mut self, timeline: &Timeline) -> Result<()> {
        self.names.clone_from(&timeline.edges);
        let Some(sample) = timeline.samples.last() else {
            return Ok(());
        };
        let line = sample_line(&self.names, sample);
        writeln!(self.out, "{line}")
            .and_then(|()| self.out.flush())
            .context("cannot write to standard output")
    }

    fn event(&mut self, at_s: f64, text: &str) {
        // An event that is lost here still is in the timeline; a broken output shows at the next sample.
        let _ = writeln!(self.out, "{at_s:>6.1}s  -- {text}").and_then(|()| self.out.flush());
    }

    fn finish(&mut self, summary: &Summary) {
        let text = result(&self.names, summary);
        let _ = write!(self.out, "\n{text}").and_then(|()| self.out.flush());
    }

    fn interrupted(&mut self) -> bool {
        false
    }
}

/// One sample as a line: `  12.0s  edge-1  402/s  160c | … | closes 12.0/s (wanted 12.5) total 143 | failed 0`.
fn sample_line(names: &[EdgeName], sample: &Sample) -> String {
    let width = name_width(names);
    let mut line = format!("{:>6.1}s  ", sample.at_s);
    for (name, edge) in names.iter().zip(&sample.edges) {
        let _ = write!(line, "{:<width$} ", name.name);
        let _ = if edge.up {
            write!(line, "{:>5.0}/s {:>4}c | ", edge.requests_per_second, edge.connections)
        } else {
            write!(line, "{:>7} {:>5} | ", "down", "")
        };
    }
    let total: u64 = sample.edges.iter().map(|edge| edge.closes).sum();
    let _ = write!(
        line,
        "closes {:>5.1}/s (wanted {:>4.1}) total {total:>5} | failed {}",
        sample.closes_per_second, sample.closes_wanted_per_second, sample.failed_requests,
    );
    line
}

/// The result of a run, as text of a few lines.
pub(super) fn result(names: &[EdgeName], summary: &Summary) -> String {
    let settled = summary
        .settle_s
        .map_or_else(|| "not settled".to_owned(), |settle_s| format!("settled in {settle_s:.1} s"));
    let mut text = format!(
        "{settled}   closes {}   requests {}   failed {}\n",
        grouped(summary.closes),
        grouped(summary.requests),
        grouped(summary.failed_requests),
    );
    let LoadTable { before, at, after, .. } = &summary.load;
    if before.is_empty() && at.is_empty() && after.is_empty() {
        return text;
    }
    let width = name_width(names).max("requests/s".len());
    let _ = writeln!(text, "{:<width$} {:>9} {:>9} {:>9}", "requests/s", "before", "at", "after");
    for (i, name) in names.iter().enumerate() {
        let _ = write!(text, "{:<width$}", name.name);
        for column in [before, at, after] {
            let _ = match column.get(i) {
                Some(rate) => write!(text, " {rate:>9.1}"),
                None => write!(text, " {:>9}", "-"),
            };
        }
        text.push('\n');
    }
    text
}

fn name_width(names: &[EdgeName]) -> usize {
    let widths = names.iter().map(|name| name.name.chars().count());
    widths.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    fn shown(seconds: u32) -> String {
        let run = synthetic::timeline(seconds);
        let mut out = Vec::new();
        let mut view = Lines::new(&mut out);
        for event in &run.events {
            view.event(event.at_s, &event.text);
        }
        let mut so_far = Timeline { samples: Vec::new(), ..run.clone() };
        for sample in &run.samples {
            so_far.samples.push(sample.clone());
            view.sample(&so_far).expect("a vector takes every line");
        }
        view.finish(&synthetic::summary(&run));
        assert!(!view.interrupted());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_sample_is_a_line() {
        let text = shown(120);
        let line = text.lines().find(|line| line.starts_with("  12.0s")).expect("12 s");
        assert!(line.starts_with("  12.0s  edge-1   620/s  243c | edge-2   "), "{line}");
        assert!(line.contains("| edge-3    down       | closes "), "{line}");
        assert!(line.ends_with("| failed 0"), "{line}");
    }

    #[test]
    fn the_columns_stay_where_they_are() {
        let text = shown(120);
        let lines = text.lines().filter(|line| line.contains(" | "));
        let columns = lines.map(|line| line.find("| failed")).collect::<Vec<_>>();
        assert_eq!(columns.len(), 120);
        assert!(columns.iter().all(|column| *column == columns[0]));
    }

    #[test]
    fn events_and_the_result_are_there() {
        let text = shown(120);
        assert!(text.contains("  20.0s  -- edge-3 joins\n"));
        assert!(text.contains("settled in 4"), "{text}");
        assert!(
            text.contains("failed 0\nrequests/s    before        at     after\nedge-1 "),
            "{text}"
        );
        assert!(text.lines().any(|line| line.starts_with("edge-3             - ")), "{text}");
    }

    #[test]
    fn a_result_without_loads_is_one_line() {
        let text = result(&[], &Summary::default());
        assert_eq!(text, "not settled   closes 0   requests 0   failed 0\n");
    }
}
