//! The result: the JSON for programs, and the last lines for people.

use std::path::Path;

use anyhow::{Context, bail};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::aggregation::Aggregated;
use super::options::Plan;
use crate::report::grouped;

/// The numbers of a run, or the medians of several.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    /// Load balancers after the change.
    pub lbs: usize,
    /// Nodes.
    pub nodes: usize,
    /// Client connections.
    pub connections: usize,
    /// Seconds from the change until the load had settled; `null` if it had not.
    pub settle_s: Option<f64>,
    /// Connections closed after the change.
    #[serde(serialize_with = "whole")]
    pub closes: f64,
    /// And before it.
    #[serde(serialize_with = "whole")]
    pub closes_before: f64,
    /// The least closes that random landing allows.
    pub closes_floor: f64,
    /// `closes / closes_floor`; `null` where none are needed.
    pub closes_per_floor: Option<f64>,
    /// The most that any one client was closed after the change.
    #[serde(serialize_with = "whole")]
    pub most_closes_of_a_client: f64,
    /// How far a load went beyond its part, relative to it.
    pub overshoot: f64,
    /// Closes that were too late to help.
    pub closes_later: Later,
    /// The seed, or the first of them.
    pub seed: u64,
    /// The `settle_time` of the policy; `null` where it has none.
    pub settle_time_s: Option<f64>,
    /// What was aggregated.
    pub aggregated: Aggregated,
    /// Time that it took, in seconds.
    pub wall_s: f64,
    /// The most memory that the process has had until then.
    pub peak_rss_mib: f64,
}

/// Closes that were too late to help.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Later {
    /// After the load had settled.
    #[serde(serialize_with = "whole_if_any")]
    pub after_settled: Option<f64>,
    /// After twice the settle time.
    #[serde(serialize_with = "whole_if_any")]
    pub after_twice_settle_time: Option<f64>,
}

/// What `--json` writes (design, section 9; fields may be added, not dropped).
#[derive(Debug, Serialize)]
struct SimulateResult<'a> {
    #[serde(flatten)]
    medians: &'a Run,
    /// The configuration of the nodes.
    policy: &'a Value,
    /// How far a load may be from its part to count as even.
    tolerance: f64,
    /// Each of several runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<&'a [Run]>,
}

/// A number that is whole but for medians is written as what it is.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde has it")]
fn whole<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let rounded = *number as u64;
    if number.fract() > 0.0 {
        serializer.serialize_f64(*number)
    } else {
        serializer.serialize_u64(rounded)
    }
}

/// As [`whole`], where there is one.
#[allow(clippy::ref_option, reason = "as serde has it")]
fn whole_if_any<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => whole(number, serializer),
        None => serializer.serialize_none(),
    }
}

/// The most memory that this process has had.
pub(super) fn peak_rss_mib() -> f64 {
    // Linux counts it in KiB.
    getrusage(UsageWho::RUSAGE_SELF).map_or(f64::NAN, |usage| usage.max_rss() as f64 / 1024.0)
}

/// The median of each number.
pub(super) fn medians(runs: &[Run]) -> Option<Run> {
    let first = runs.first()?;
    let of = |number: fn(&Run) -> f64| median(runs.iter().map(number).collect());
    // What never came is later than all that did.
    let some = |number: fn(&Run) -> Option<f64>| {
        let all = runs.iter().map(|run| number(run).unwrap_or(f64::INFINITY));
        Some(median(all.collect())).filter(|median| median.is_finite())
    };
    Some(Run {
        settle_s: some(|run| run.settle_s),
        closes: of(|run| run.closes),
        closes_before: of(|run| run.closes_before),
        closes_floor: of(|run| run.closes_floor),
        closes_per_floor: some(|run| run.closes_per_floor),
        most_closes_of_a_client: of(|run| run.most_closes_of_a_client),
        overshoot: of(|run| run.overshoot),
        closes_later: Later {
            after_settled: some(|run| run.closes_later.after_settled),
            after_twice_settle_time: some(|run| run.closes_later.after_twice_settle_time),
        },
        wall_s: of(|run| run.wall_s),
        peak_rss_mib: runs.last().map_or(f64::NAN, |run| run.peak_rss_mib),
        ..first.clone()
    })
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() % 2 {
        1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

/// Writes the result as JSON.
///
/// # Errors
///
/// The file cannot be written.
pub(super) fn write_json(
    path: &Path,
    plan: &Plan,
    medians: &Run,
    runs: &[Run],
) -> anyhow::Result<()> {
    let result = SimulateResult {
        medians,
        policy: &plan.policy,
        tolerance: plan.tolerance,
        runs: (runs.len() > 1).then_some(runs),
    };
    let mut text = serde_json::to_string_pretty(&result)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The numbers of a run in a line.
pub(super) fn line(run: &Run) -> String {
    let settled = run
        .settle_s
        .map_or_else(|| "not settled".to_owned(), |settle_s| format!("settled in {settle_s:.1} s"));
    let part = run.closes_per_floor.map_or_else(String::new, |part| format!(" ({part:.2} of it)"));
    format!(
        "{settled}   closes {}   least for equal loads {}{part}   most for one client {}",
        count(run.closes),
        count(run.closes_floor),
        run.most_closes_of_a_client,
    )
}

/// A count, rounded.
pub(super) fn count(value: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let value = value.round() as u64;
    grouped(value)
}

/// Passes if the load settled in every run.
///
/// # Errors
///
/// It did not, in so many of them.
pub(super) fn verdict(plan: &Plan, runs: &[Run]) -> anyhow::Result<()> {
    let unsettled: Vec<_> = runs.iter().filter(|run| run.settle_s.is_none()).collect();
    if unsettled.is_empty() {
        return Ok(());
    }
    let after = humantime::format_duration(plan.after);
    let seeds: Vec<_> = unsettled.iter().map(|run| run.seed.to_string()).collect();
    bail!("the load did not settle within {after} (seed {})", seeds.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
        assert!(median(vec![1.0, f64::INFINITY, f64::INFINITY]).is_infinite());
    }
}
