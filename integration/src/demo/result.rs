//! The result of a run: the summary for people, the JSON for programs, and the verdict.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::scenario::SETTLE_BOUND;
use crate::client::ClientTotals;
use crate::report::{LoadTable, Sample, Summary, Timeline};
use crate::run::Record;

/// The load "after" is the mean over so many seconds at the end.
const AFTER_S: f64 = 10.0;
/// The load "before" is the mean over so many seconds before the join.
const BEFORE_S: f64 = 5.0;

/// What `--json` writes (design.md, section 9; fields may be added, not dropped).
#[derive(Debug, Serialize)]
pub(super) struct DemoResult<'a> {
    /// Seconds from the join of the third edge until the load had settled; `null` if it had not.
    settle_s: Option<f64>,
    /// Connections that the edges told to close.
    closes: u64,
    /// Requests sent.
    requests: u64,
    /// Requests without a complete, successful response.
    failed_requests: u64,
    /// Requests per second of each of `edges`; one that is not there yet has 0.
    load: LoadTable,
    /// The names of the edges, in the order of `load`.
    edges: Vec<&'a str>,
    /// Such as `1.40.0`.
    envoy_version: &'a str,
    /// The close-rate policy in words.
    policy: &'a str,
    /// From the first client to the end, in seconds.
    duration_s: f64,
    /// What the clients counted.
    clients: &'a ClientTotals,
}

/// The numbers of a run.
pub(super) fn summary(record: &Record) -> Summary {
    let Record { timeline, joined_s, settled_s, clients, .. } = record;
    let end_s = timeline.samples.last().map_or(0.0, |sample| sample.at_s);
    let first_after = timeline.samples.iter().find(|sample| sample.at_s >= *joined_s);
    let mut before = timeline.mean_load(joined_s - BEFORE_S, *joined_s);
    before.pop();
    Summary {
        settle_s: settled_s.map(|settled_s| settled_s - joined_s),
        closes: timeline
            .samples
            .last()
            .map_or(0, |sample| sample.edges.iter().map(|edge| edge.closes).sum()),
        requests: clients.requests,
        failed_requests: clients.failed,
        load: LoadTable {
            before,
            at: first_after.map_or_else(Vec::new, |sample| {
                sample.edges.iter().map(|edge| edge.requests_per_second).collect()
            }),
            after: timeline.mean_load(end_s - AFTER_S, end_s),
            means: None,
        },
        simulated: None,
    }
}

/// Writes the result as JSON.
///
/// # Errors
///
/// The file cannot be written.
pub(super) fn write_json(path: &Path, record: &Record, summary: &Summary) -> Result<()> {
    let timeline = &record.timeline;
    let mut load = summary.load.clone();
    load.before.resize(timeline.edges.len(), 0.0);
    let result = DemoResult {
        settle_s: summary.settle_s,
        closes: summary.closes,
        requests: summary.requests,
        failed_requests: summary.failed_requests,
        load,
        edges: timeline.edges.iter().map(|edge| edge.name.as_str()).collect(),
        envoy_version: &timeline.envoy_version,
        policy: &timeline.policy,
        duration_s: timeline.duration_s(),
        clients: &record.clients,
    };
    let mut text = serde_json::to_string_pretty(&result)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether the run showed what it is to show.
///
/// # Errors
///
/// A request failed, or the load did not settle; the text says which, in one line.
pub(super) fn verdict(record: &Record, summary: &Summary) -> Result<()> {
    if summary.failed_requests > 0 {
        let first = record.clients.failures.first().map_or("no reason known", String::as_str);
        bail!(
            "{} of {} requests failed; the first reason: {first}",
            summary.failed_requests,
            summary.requests
        );
    }
    if summary.settle_s.is_none() {
        let bound_s = SETTLE_BOUND.as_secs();
        bail!("the load did not settle within {bound_s} s: {}", unevenness(&record.timeline));
    }
    Ok(())
}

fn unevenness(timeline: &Timeline) -> String {
    let farthest = timeline.samples.last().and_then(Sample::farthest_from_mean);
    farthest.map_or_else(
        || "there were no requests".to_owned(),
        |(edge, deviation)| {
            let name = timeline.edges.get(edge).map_or("an edge", |edge| edge.name.as_str());
            let side = if deviation < 0.0 { "under" } else { "over" };
            let percent = deviation.abs() * 100.0;
            format!("at the end {name} is {percent:.0} % {side} the mean")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    fn record(seconds: u32) -> Record {
        let clients = ClientTotals { requests: 1_000, ..ClientTotals::default() };
        let (timeline, joined_s) = (synthetic::timeline(seconds), synthetic::JOIN_S);
        let settled_s = timeline.settled_at(joined_s);
        Record { timeline, joined_s, settled_s, judged_s: f64::from(seconds), clients }
    }

    #[test]
    fn the_json_has_every_edge_in_every_column() {
        let directory = tempfile::tempdir().expect("a folder");
        let path = directory.path().join("result.json");
        let record = record(120);
        write_json(&path, &record, &summary(&record)).expect("written");
        let text = std::fs::read_to_string(&path).expect("read");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for column in ["before", "at", "after"] {
            assert_eq!(json["load"][column].as_array().map(Vec::len), Some(3), "{column}");
        }
        assert_eq!(json["load"]["before"][2], 0.0);
        assert_eq!(json["edges"][2], "edge-3");
        assert!(json["settle_s"].as_f64().is_some_and(|settle_s| settle_s > 20.0));
        assert_eq!((&json["requests"], &json["envoy_version"]), (&1_000.into(), &"1.40.0".into()));
    }

    #[test]
    fn a_good_run_passes() {
        let record = record(120);
        verdict(&record, &summary(&record)).expect("good");
    }

    #[test]
    fn an_uneven_end_and_a_failed_request_are_told() {
        let uneven = record(25);
        let error = verdict(&uneven, &summary(&uneven)).unwrap_err().to_string();
        assert!(error.contains("did not settle"), "{error}");
        assert!(error.contains("edge-3 is"), "{error}");

        let mut failed = record(120);
        failed.clients.failed = 2;
        failed.clients.failures.push("request to 127.0.0.1: status 503".to_owned());
        let error = verdict(&failed, &summary(&failed)).unwrap_err().to_string();
        let expected =
            "2 of 1000 requests failed; the first reason: request to 127.0.0.1: status 503";
        assert_eq!(error, expected);
    }
}
