//! What a contender's run comes to, the table of all of them, and the verdict.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::contenders::Contender;
use crate::report::{Comparison, ContenderResult, Sample, grouped};
use crate::run::Record;

const SECONDS_PER_HOUR: f64 = 3_600.0;

/// The numbers of a run.
pub(super) fn of_run(
    contender: Contender,
    parameters: String,
    connections: usize,
    record: &Record,
) -> ContenderResult {
    let Record { timeline, joined_s, settled_s, judged_s, clients } = record;
    let joined_s = *joined_s;
    let end_s = timeline.samples.last().map_or(0.0, |sample| sample.at_s);
    let closed = |at_s: f64| closes_at(&timeline.samples, at_s);
    let hours = (end_s - judged_s) / SECONDS_PER_HOUR;
    let closes_after = closed(end_s) - closed(*judged_s);
    let connection_hours = connections as f64 * hours;
    let new_edge_share = timeline
        .samples
        .iter()
        .filter(|sample| sample.at_s >= joined_s)
        .filter_map(|sample| Some((sample.at_s - joined_s, share_of_last(sample)?)));
    ContenderResult {
        name: contender.name(),
        parameters,
        settle_s: settled_s.map(|settled_s| settled_s - joined_s),
        judged_s: judged_s - joined_s,
        closes_to_settle: closed(settled_s.unwrap_or(*judged_s)) - closed(joined_s),
        closes_until_judged: closed(*judged_s) - closed(joined_s),
        closes_after,
        closes_after_per_connection_hour: if connection_hours > 0.0 {
            closes_after as f64 / connection_hours
        } else {
            0.0
        },
        requests: clients.requests,
        failed_requests: clients.failed,
        connections_lost: clients.connections_lost,
        p99_ms: clients.latency_p99_us.map(|micros| micros as f64 / 1_000.0),
        failures: clients.failures.clone(),
        new_edge_share: new_edge_share.collect(),
    }
}

/// Closes until `at_s`, over all edges.
fn closes_at(samples: &[Sample], at_s: f64) -> u64 {
    let sample = samples.iter().rev().find(|sample| sample.at_s <= at_s);
    sample.map_or(0, |sample| sample.edges.iter().map(|edge| edge.closes).sum())
}

/// The part of the requests that the last edge gets.
fn share_of_last(sample: &Sample) -> Option<f64> {
    let total: f64 = sample.edges.iter().map(|edge| edge.requests_per_second).sum();
    Some(sample.edges.last()?.requests_per_second / total).filter(|share| share.is_finite())
}

/// The table for a terminal.
pub(super) fn table(results: &[ContenderResult]) -> String {
    let width = |text: fn(&ContenderResult) -> &str| {
        results.iter().map(|result| text(result).chars().count()).max().unwrap_or(0)
    };
    let names = width(|result| &result.name).max("contender".len());
    let parameters = width(|result| &result.parameters).max("parameters".len());
    let mut text = format!(
        "{:<names$}  {:<parameters$}  {:>8}  {:>9}  {:>14}  {:>8}  {:>7}\n\
         {:<names$}  {:<parameters$}  {:>8}  {:>9}  {:>14}  {:>8}  {:>7}\n",
        "",
        "",
        "",
        "closes to",
        "closes after /",
        "failed",
        "", //
        "contender",
        "parameters",
        "settle_s",
        "settle",
        "connection / h",
        "requests",
        "p99 ms",
    );
    for result in results {
        let settle_s =
            result.settle_s.map_or_else(|| "never".to_owned(), |settle_s| format!("{settle_s:.1}"));
        let p99_ms = result.p99_ms.map_or_else(|| "-".to_owned(), |p99_ms| format!("{p99_ms:.1}"));
        let _ = writeln!(
            text,
            "{:<names$}  {:<parameters$}  {settle_s:>8}  {:>9}  {:>14.1}  {:>8}  {p99_ms:>7}",
            result.name,
            result.parameters,
            grouped(result.closes_to_settle),
            result.closes_after_per_connection_hour,
            grouped(result.failed_requests),
        );
    }
    text
}

/// Writes the result as JSON; the course of each run is in the report only.
///
/// # Errors
///
/// The file cannot be written.
pub(super) fn write_json(path: &Path, comparison: &Comparison) -> Result<()> {
    let mut comparison = comparison.clone();
    comparison.contenders.iter_mut().for_each(|contender| contender.new_edge_share.clear());
    let mut text = serde_json::to_string_pretty(&comparison)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether `rebalance`, if it took part, did what it is for.
///
/// # Errors
///
/// It did not settle, or a request failed; the text says which, in one line.
pub(super) fn verdict(results: &[ContenderResult]) -> Result<()> {
    let name = Contender::Rebalance.name();
    let Some(rebalance) = results.iter().find(|result| result.name == name) else {
        return Ok(());
    };
    if rebalance.failed_requests > 0 {
        let first = rebalance.failures.first().map_or("no reason known", String::as_str);
        bail!("{name}: {} requests failed; the first reason: {first}", rebalance.failed_requests);
    }
    if rebalance.settle_s.is_none() {
        bail!("{name}: the load did not settle within {:.0} s", rebalance.judged_s);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientTotals;
    use crate::report::synthetic;

    fn result(contender: Contender) -> ContenderResult {
        let timeline = synthetic::timeline(120);
        let joined_s = synthetic::JOIN_S;
        let clients = ClientTotals {
            requests: 1_000,
            latency_p99_us: Some(4_200),
            ..ClientTotals::default()
        };
        let record = Record { settled_s: Some(62.0), judged_s: 84.0, timeline, joined_s, clients };
        of_run(contender, "settle_time 30s".to_owned(), 480, &record)
    }

    #[test]
    fn closes_are_counted_from_the_join_and_from_the_judgement() {
        let result = result(Contender::Rebalance);
        assert_eq!((result.settle_s, result.judged_s), (Some(42.0), 64.0));
        let samples = synthetic::timeline(120).samples;
        let closed = |at_s| closes_at(&samples, at_s);
        assert!(closed(20.0) < closed(62.0) && closed(62.0) < closed(84.0));
        assert_eq!(result.closes_to_settle, closed(62.0) - closed(20.0));
        assert_eq!(result.closes_until_judged, closed(84.0) - closed(20.0));
        assert_eq!(result.closes_after, closed(120.0) - closed(84.0));
        // 36 seconds are a hundredth of an hour.
        let per_hour = result.closes_after as f64 * 100.0 / 480.0;
        assert!((result.closes_after_per_connection_hour / per_hour - 1.0).abs() < 1e-9);
        assert_eq!(result.p99_ms, Some(4.2));
    }

    #[test]
    fn the_new_edges_share_begins_with_its_join() {
        let shares = result(Contender::Rebalance).new_edge_share;
        assert_eq!(shares.len(), 101);
        assert!(shares[0].0.abs() < f64::EPSILON && shares[0].1 < 0.1, "{:?}", shares[0]);
        assert!((0.28..0.36).contains(&shares[100].1), "{:?}", shares[100]);
    }

    #[test]
    fn the_table_has_a_line_for_each_and_keeps_its_columns() {
        let nothing = ContenderResult { settle_s: None, ..result(Contender::Nothing) };
        let text = table(&[nothing, result(Contender::Rebalance)]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines.iter().all(|line| line.chars().count() == lines[0].len()), "{text}");
        assert!(lines[2].starts_with("nothing    settle_time 30s     never"), "{text}");
        assert!(lines[3].starts_with("rebalance  settle_time 30s      42.0"), "{text}");
        assert!(lines[3].ends_with("       0      4.2"), "{text}");
    }

    #[test]
    fn the_verdict_is_on_rebalance_alone() {
        let good = || result(Contender::Rebalance);
        let unsettled = |contender| ContenderResult { settle_s: None, ..result(contender) };
        verdict(&[unsettled(Contender::Nothing), good()]).expect("good");
        verdict(&[unsettled(Contender::Nothing)]).expect("nothing to judge");
        let error = verdict(&[unsettled(Contender::Rebalance)]).unwrap_err().to_string();
        assert_eq!(error, "rebalance: the load did not settle within 64 s");
        let failed = ContenderResult { failed_requests: 1, ..good() };
        let error = verdict(&[failed]).unwrap_err().to_string();
        assert_eq!(error, "rebalance: 1 requests failed; the first reason: no reason known");
    }
}
