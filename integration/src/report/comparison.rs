//! The report of a comparison: the contenders as a table, how their new edge gets its load, and
//! what they go on closing afterwards.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::chart::{Axes, Chart, EndLabel};
use super::charts::edge_class;
use super::grouped;
use super::html::{escape, figure, foot, head, percent, rate};

/// The new edge's part of the load once it is even: it is the third.
const EVEN_PART: f64 = 1.0 / 3.0;

/// The runs of all contenders, as `--json` writes them (design.md, section 9).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Comparison {
    /// Such as `1.40.0`.
    pub envoy_version: String,
    /// Clients, each with one connection.
    pub clients: usize,
    /// The time that the parameters of all were chosen for, in seconds.
    pub settle_time_s: f64,
    /// For how long closes were counted afterwards, in seconds.
    pub after_s: f64,
    /// The pace of each client.
    pub requests_per_second_per_client: f64,
    /// How far from the mean a load may be to count as even.
    pub tolerance: f64,
    /// One for each contender, in the order of their runs.
    pub contenders: Vec<ContenderResult>,
}

/// What the run of a contender came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ContenderResult {
    /// What it is called.
    pub name: String,
    /// Its parameters, in words.
    pub parameters: String,
    /// Seconds from the join of the third edge until the load was even and stayed so; `null` if it
    /// did not within the time it had.
    pub settle_s: Option<f64>,
    /// Seconds from the join until that was judged; closes "after" are counted from then on.
    pub judged_s: f64,
    /// Closes from the join until the load had settled (or was judged not to).
    pub closes_to_settle: u64,
    /// Closes from the join until it was judged.
    pub closes_until_judged: u64,
    /// Closes from then to the end.
    pub closes_after: u64,
    /// The same for each connection and hour.
    pub closes_after_per_connection_hour: f64,
    /// Requests of the whole run.
    pub requests: u64,
    /// Those without a complete, successful response.
    pub failed_requests: u64,
    /// Connections that ended without the client having been told: reset, cut.
    pub connections_lost: u64,
    /// 99 % of the responses of the whole run took no longer, in milliseconds.
    pub p99_ms: Option<f64>,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// The new edge's part of all requests: (seconds since it joined, part). For the report only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub new_edge_share: Vec<(f64, f64)>,
}

/// Writes the report of a comparison to `path`.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(path: &Path, comparison: &Comparison) -> Result<()> {
    let page = page(comparison)?;
    fs::write(path, page).with_context(|| format!("cannot write the report {}", path.display()))
}

fn page(comparison: &Comparison) -> Result<String> {
    let Comparison { clients, settle_time_s, after_s, tolerance, .. } = comparison;
    let deck = format!(
        "Two edges with {} long-lived connections get a third. Every way to have connections closed has the \
         parameters with which the load is to be even in {settle_time_s:.0} s.",
        grouped(*clients as u64)
    );
    let mut html = head("Spillway compare", &headline(comparison), &deck);
    let _ = writeln!(
        html,
        "<dl class=\"facts\"><div><dt>Envoy</dt><dd>{}</dd></div><div><dt>Connections</dt><dd>{}</dd></div>\
         <div><dt>Requests</dt><dd>{}/s each</dd></div><div><dt>Closes counted for</dt><dd>{after_s:.0} s</dd></div></dl>",
        escape(&comparison.envoy_version),
        grouped(*clients as u64),
        comparison.requests_per_second_per_client,
    );
    let band = percent(*tolerance).replace('+', "±");
    let legend = format!(
        "Closes are connections that clients have seen end. Settled: every edge within {band} of the mean."
    );
    figure(&mut html, "All contenders", &legend, &table(comparison));
    figure(&mut html, "The new edge's part of the load", &keys(comparison), &shares(comparison));
    let legend = format!(
        "For each connection and hour, scaled from the {after_s:.0} s after the load was found even, or its time was over."
    );
    figure(&mut html, "Closes once the load is even", &legend, &bars(comparison));
    html.push_str(&foot("Edges are Envoy load balancers.", comparison)?);
    Ok(html)
}

/// Who closes least once the load is even, and how much the next one does, in a sentence.
fn headline(comparison: &Comparison) -> String {
    let per_hour = |contender: &ContenderResult| contender.closes_after_per_connection_hour;
    let mut settled: Vec<_> =
        comparison.contenders.iter().filter(|contender| contender.settle_s.is_some()).collect();
    settled.sort_by(|a, b| per_hour(a).total_cmp(&per_hour(b)));
    match settled.as_slice() {
        [] => "The load did not get even".to_owned(),
        [only] => format!("{}: load even after {:.0} s", only.name, only.settle_s.unwrap_or(0.0)),
        [least, next, ..] => format!(
            "Once the load is even, {} closes each connection {} times an hour; {}, the next, {} times",
            least.name,
            rate(per_hour(least)),
            next.name,
            rate(per_hour(next)),
        ),
    }
}

fn table(comparison: &Comparison) -> String {
    let mut html = String::from(
        "<table class=\"contenders\"><thead><tr><th scope=\"col\">Contender</th><th scope=\"col\">Settled</th>\
         <th scope=\"col\">Closes to settle</th><th scope=\"col\">Closes after / connection / hour</th>\
         <th scope=\"col\">Failed requests</th><th scope=\"col\">p99</th></tr></thead><tbody>\n",
    );
    for (i, contender) in comparison.contenders.iter().enumerate() {
        let settled = contender
            .settle_s
            .map_or("<span class=\"uneven\">never</span>".to_owned(), |s| format!("{s:.1} s"));
        let failed = if contender.failed_requests == 0 { "even" } else { "uneven" };
        let p99 = contender.p99_ms.map_or("–".to_owned(), |p99_ms| format!("{p99_ms:.1} ms"));
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\" class=\"{}\"><i class=\"dot\"></i>{}<small>{}</small></th><td>{settled}</td>\
             <td>{}</td><td>{}</td><td><span class=\"{failed}\">{}</span></td><td>{p99}</td></tr>",
            edge_class(i),
            escape(&contender.name),
            escape(&contender.parameters),
            grouped(contender.closes_to_settle),
            rate(contender.closes_after_per_connection_hour),
            grouped(contender.failed_requests),
        );
    }
    html.push_str("</tbody></table>\n");
    html
}

/// Which line is whose, as HTML.
fn keys(comparison: &Comparison) -> String {
    let mut html =
        String::from("In percent of all requests; even in the <i class=\"key band\"></i> band. ");
    for (i, contender) in comparison.contenders.iter().enumerate() {
        let (class, number, name) = (edge_class(i), i + 1, escape(&contender.name));
        let _ = write!(
            html,
            " <span class=\"keyed\"><i class=\"key {class}\"></i> {number} {name}</span>"
        );
    }
    html
}

/// The new edge's part of the load over time, of all contenders.
fn shares(comparison: &Comparison) -> String {
    let shares = || comparison.contenders.iter().flat_map(|contender| &contender.new_edge_share);
    let judged = comparison.contenders.iter().map(|contender| contender.judged_s);
    let end_s = judged.fold(0.0, f64::max).max(2.0 * comparison.settle_time_s);
    let even = EVEN_PART * 100.0;
    let (low, high) = (even * (1.0 - comparison.tolerance), even * (1.0 + comparison.tolerance));
    let mut chart = Chart::new(&Axes {
        label: "The new edge's part of the requests over time, for every contender",
        unit: "percent of the requests",
        highest: shares().map(|(_, part)| part * 100.0).fold(high, f64::max),
        time: "seconds since the edge joined",
        end_s,
        markers: &[],
    });
    chart.band("band", &[(0.0, (low, high)), (end_s, (low, high))]);
    let mut labels = Vec::new();
    for (i, contender) in comparison.contenders.iter().enumerate() {
        let points = || contender.new_edge_share.iter().filter(|(at_s, _)| *at_s <= end_s);
        chart.line(&edge_class(i), points().map(|&(at_s, part)| (at_s, Some(part * 100.0))));
        if let Some((_, part)) = points().next_back() {
            labels.push(EndLabel {
                class: edge_class(i),
                value: part * 100.0,
                name: (i + 1).to_string(),
                text: format!("{:.1} %", part * 100.0),
            });
        }
    }
    chart.end_labels(&labels);
    chart.finish()
}

/// Closes after the load was even, as bars.
fn bars(comparison: &Comparison) -> String {
    let per_hour = |contender: &ContenderResult| contender.closes_after_per_connection_hour;
    let highest = comparison.contenders.iter().map(per_hour).fold(0.0, f64::max);
    let mut html = String::from("<div class=\"bars\">\n");
    for (i, contender) in comparison.contenders.iter().enumerate() {
        let width = if highest > 0.0 { per_hour(contender) / highest * 100.0 } else { 0.0 };
        let _ = writeln!(
            html,
            "<span>{}</span><div class=\"load {}\"><div style=\"width:{width:.2}%\"></div></div><strong>{}</strong>",
            escape(&contender.name),
            edge_class(i),
            rate(per_hour(contender)),
        );
    }
    html.push_str("</div>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(name: &str, settle_s: Option<f64>, per_hour: f64) -> ContenderResult {
        ContenderResult {
            name: name.to_owned(),
            parameters: "<30s>".to_owned(),
            settle_s,
            judged_s: 50.0,
            closes_after_per_connection_hour: per_hour,
            new_edge_share: vec![(0.0, 0.0), (10.0, 0.2), (60.0, 0.33), (110.0, 0.33)],
            ..ContenderResult::default()
        }
    }

    fn comparison() -> Comparison {
        let contenders = vec![
            contender("nothing", None, 0.0),
            contender("max_connection_duration", Some(31.0), 108.0),
            contender("rebalance", Some(25.0), 0.25),
        ];
        Comparison { settle_time_s: 30.0, tolerance: 0.1, contenders, ..Comparison::default() }
    }

    #[test]
    fn a_report_is_one_file_that_fetches_nothing() {
        let html = page(&comparison()).expect("a page");
        for remote in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!html.contains(remote), "the report refers to {remote}");
        }
        assert_eq!((html.matches("<svg").count(), html.matches("</svg>").count()), (1, 1));
        assert!(!html.contains("NaN") && !html.contains("inf "), "a number got lost");
        assert!(!html.contains("<30s>"), "text became markup");
    }

    #[test]
    fn the_contenders_are_in_it_with_their_numbers() {
        let html = page(&comparison()).expect("a page");
        assert!(html.contains("rebalance closes each connection 0.2 times an hour; max_"));
        assert!(html.contains("<span class=\"uneven\">never</span>"), "{html}");
        assert_eq!(html.matches("<path class=\"line s").count(), 3);
        assert!(html.contains("width:100.00%") && html.contains("width:0.23%"));
    }

    #[test]
    fn a_comparison_of_nobody_still_has_a_report() {
        let html = page(&Comparison::default()).expect("a page");
        assert!(html.contains("The load did not get even") && !html.contains("NaN"));
    }
}
