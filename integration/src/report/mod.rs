//! What a run leaves behind: its course over time, its result, and an HTML report of both.
//!
//! The [`Timeline`] is the single source for every view: the live screen, the lines of a
//! headless run and the report draw the same numbers, so they cannot disagree. The report is
//! one file that needs no network, so that it can be attached to an issue and still be read
//! in ten years. Its charts are written as SVG by hand: the browser sets the text, CSS picks
//! the colours (light or dark), and every second of the run answers to the mouse without a script.

mod chart;
mod charts;
mod comparison;
mod html;
mod load_table;
mod overhead;
mod picture;
mod scale;
#[cfg(test)]
pub(crate) mod synthetic;
mod timeline;

use serde::Serialize;

pub use self::comparison::{Comparison, ContenderResult, write as write_comparison};
pub use self::html::write;
pub use self::overhead::{
    Cost, Machine, Measured, Overhead, Ratio, Scale, Spread, write as write_overhead,
};
pub use self::picture::write as write_picture;
pub(crate) use self::scale::{nice_step, spread, time_step};
pub use self::timeline::{EdgeName, EdgeSample, Event, Sample, Timeline};

/// The result of a run, as `--json` writes it (design.md, section 9).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Seconds from the change of the fleet until the load was even and stayed so; `None` if
    /// that did not happen while the run lasted.
    pub settle_s: Option<f64>,
    /// Connections closed in the whole run.
    pub closes: u64,
    /// Requests sent in the whole run.
    pub requests: u64,
    /// Requests that got no complete, successful response.
    pub failed_requests: u64,
    /// The load of every edge before, at and after the change.
    pub load: LoadTable,
    /// What there is to say of a run in simulated time; `None` on real Envoys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simulated: Option<Simulated>,
}

/// What a report says of a run in simulated time, instead of requests sent and failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Simulated {
    /// The fleet, in a sentence or two.
    pub fleet: String,
    /// Numbers to be shown large, each with what it is.
    pub tiles: Vec<(String, String)>,
}

/// Requests per second of each edge, in the order of [`Timeline::edges`].
///
/// A column may be shorter than the list of edges: the ones that were not there yet are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoadTable {
    /// Just before the edge joined.
    pub before: Vec<f64>,
    /// Just after it joined, before the load has moved.
    pub at: Vec<f64>,
    /// At the end of the run.
    pub after: Vec<f64>,
    /// The mean of all edges in each column, where the columns show some of them only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<Vec<f64>>,
}

/// A count with its thousands set apart: `61,234`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (count, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (61_234, "61,234"), (1_000_000, "1,000,000")]
        {
            assert_eq!(grouped(count), text);
        }
    }

    #[test]
    fn the_summary_has_the_field_names_of_the_json_result() {
        let json = serde_json::to_value(Summary::default()).expect("a summary is plain data");
        let fields: Vec<_> = json.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["closes", "failed_requests", "load", "requests", "settle_s"]);
        let load: Vec<_> = json["load"].as_object().expect("an object").keys().collect();
        assert_eq!(load, ["after", "at", "before"]);
    }
}
