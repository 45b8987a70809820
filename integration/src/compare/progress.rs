//! A run among others, as a few lines: what happens, and now and then how it stands.

use std::fmt::Write as _;

use anyhow::Result;

use crate::live::View;
use crate::report::{Summary, Timeline};

/// A line at least so often, in seconds.
const INTERVAL_S: f64 = 10.0;

/// Prints the progress of one contender.
pub(super) struct Progress {
    /// In front of each line.
    head: String,
    said_at_s: f64,
}

// === impl Progress ===

impl Progress {
    pub(super) fn new(head: String) -> Self {
        Self { head, said_at_s: 0.0 }
    }
}

impl View for Progress {
    fn sample(&mut self, timeline: &Timeline) -> Result<()> {
        if let Some(line) = line(timeline)
            && timeline.duration_s() - self.said_at_s >= INTERVAL_S
        {
            self.said_at_s = timeline.duration_s();
            println!("{}  {line}", self.head);
        }
        Ok(())
    }

    fn event(&mut self, at_s: f64, text: &str) {
        println!("{}  {at_s:>5.0} s  -- {text}", self.head);
    }

    fn finish(&mut self, _: &Summary) {}

    fn interrupted(&mut self) -> bool {
        false
    }
}

/// How it stands: `   42 s  33.1 33.4 33.5 %  closes   120  failed 0`.
fn line(timeline: &Timeline) -> Option<String> {
    let sample = timeline.samples.last()?;
    let total: f64 = sample.edges.iter().map(|edge| edge.requests_per_second).sum();
    let closes: u64 = sample.edges.iter().map(|edge| edge.closes).sum();
    let mut line = format!("{:>5.0} s  load", sample.at_s);
    for edge in &sample.edges {
        let part = if total > 0.0 { edge.requests_per_second / total } else { 0.0 };
        let _ = write!(line, " {:>4.1}", part * 100.0);
    }
    let _ = write!(line, " %  closes {closes:>5}  failed {}", sample.failed_requests);
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn a_line_has_the_part_of_each_edge_and_all_closes() {
        assert_eq!(line(&Timeline::default()), None);
        let line = line(&synthetic::timeline(120)).expect("a line");
        assert!(line.starts_with("  120 s  load 3"), "{line}");
        assert!(line.ends_with(" %  closes   703  failed 0"), "{line}");
    }
}
