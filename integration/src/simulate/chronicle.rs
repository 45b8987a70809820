//! The course of a run as the timeline that reports are drawn from.
//!
//! Up to a dozen load balancers each have their line. Of more, four lines show what matters: those
//! that join (their mean), and of the others the most, the middle and the least loaded.
//! Loads are per weight, so that one mean and one band hold for all.

use simulation::Moment;

use super::aggregation::Aggregated;
use super::options::{Change, Plan};
use super::play::Record;
use super::result::{Run, count};
use crate::report::{
    EdgeName, EdgeSample, Event, LoadTable, Sample, Simulated, Summary, Timeline, grouped,
};

/// So many load balancers each get a line of their own.
const SINGLY: usize = 12;

/// The load before the change and at the end is the mean over so many seconds.
const MEAN_OVER_S: f64 = 5.0;

/// The timeline and the summary of a run.
pub(super) fn chronicle(plan: &Plan, record: &Record) -> (Timeline, Summary) {
    let timeline = timeline(plan, record);
    let last_s = timeline.samples.last().map_or(0.0, |sample| sample.at_s);
    let changed_s = record.course.changed_at.max(plan.warm_up.as_secs_f64());
    let first_after = timeline.samples.iter().find(|sample| sample.at_s > changed_s);
    let first_s = first_after.map_or(changed_s, |sample| sample.at_s);
    let means = |from_s: f64, to_s: f64| {
        let within = timeline.samples.iter().filter(|at| at.at_s >= from_s && at.at_s <= to_s);
        let all: Vec<_> = within.filter_map(Sample::mean_requests_per_second).collect();
        all.iter().sum::<f64>() / all.len().max(1) as f64
    };
    let before_s = plan.warm_up.as_secs_f64();
    let spans = [
        (before_s - MEAN_OVER_S, before_s),
        (first_s, first_s),
        (last_s - 2.0 * MEAN_OVER_S, last_s),
    ];
    let mut before = timeline.mean_load(spans[0].0, spans[0].1);
    if let Change::Join(1..) = plan.change {
        before.truncate(if many(record) { 3 } else { plan.scenario.edges.len() });
    }
    let requests = record.course.moments.iter().flat_map(|(_, edges)| edges);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let summary = Summary {
        settle_s: record.run.settle_s,
        closes: (record.run.closes + record.run.closes_before) as u64,
        requests: requests.map(|edge| edge.rate).sum::<f64>() as u64,
        failed_requests: 0,
        load: LoadTable {
            before,
            at: timeline.mean_load(spans[1].0, spans[1].1),
            after: timeline.mean_load(spans[2].0, spans[2].1),
            means: many(record).then(|| spans.map(|(from_s, to_s)| means(from_s, to_s)).to_vec()),
        },
        simulated: Some(simulated(plan, &record.run)),
    };
    (timeline, summary)
}

fn simulated(plan: &Plan, run: &Run) -> Simulated {
    let Run { nodes, connections, aggregated, .. } = run;
    let part = run.closes_per_floor.map_or("–".to_owned(), |part| format!("{part:.2}"));
    Simulated {
        fleet: fleet(plan, *nodes, *connections, *aggregated),
        tiles: vec![
            (part, format!("closes / least for equal loads ({})", count(run.closes_floor))),
            (run.most_closes_of_a_client.to_string(), "closes of a client at most".to_owned()),
        ],
    }
}

fn fleet(plan: &Plan, nodes: usize, connections: usize, aggregated: Aggregated) -> String {
    format!(
        "Simulated: {} load balancers at the start, {} nodes, {} connections. Aggregated: {}.",
        grouped(plan.scenario.edges.len() as u64),
        grouped(nodes as u64),
        grouped(connections as u64),
        aggregated.in_words(nodes),
    )
}

fn timeline(plan: &Plan, record: &Record) -> Timeline {
    let samples = record.course.moments.iter().zip(&record.course.closes_until);
    let mut closes_before = 0;
    let samples = samples.zip(&record.wanted).map(|(((at_s, edges), closes), wanted)| {
        let just_now = closes - std::mem::replace(&mut closes_before, *closes);
        Sample {
            at_s: *at_s,
            edges: shown(plan, record, edges, *closes),
            mean: many(record).then(|| mean(edges)),
            closes_per_second: just_now as f64,
            closes_wanted_per_second: *wanted,
            ..Sample::default()
        }
    });
    Timeline {
        title: "Spillway, simulated".to_owned(),
        policy: plan.policy.to_string(),
        samples: samples.collect(),
        edges: names(plan, record),
        events: record
            .events
            .iter()
            .map(|(at_s, text)| Event { at_s: *at_s, text: text.clone() })
            .collect(),
        tolerance: plan.tolerance,
        ..Timeline::default()
    }
}

fn many(record: &Record) -> bool {
    record.run.lbs > SINGLY
}

fn names(plan: &Plan, record: &Record) -> Vec<EdgeName> {
    let name = |name: &str, address: String| EdgeName { name: name.to_owned(), address };
    let old = plan.scenario.edges.len();
    if !many(record) {
        let last = record.course.moments.last();
        let weights = last.iter().flat_map(|(_, edges)| edges).map(|edge| edge.weight);
        let edge = |(number, weight): (usize, f64)| {
            let per_weight = if (weight - 1.0).abs() < f64::EPSILON {
                String::new()
            } else {
                format!("weight {weight}")
            };
            name(&format!("edge-{number}"), per_weight)
        };
        return (1..).zip(weights).map(edge).collect();
    }
    let of = format!("of {old}");
    let mut names = vec![name("most", of.clone()), name("median", of.clone()), name("least", of)];
    match plan.change {
        Change::Join(0) => {}
        Change::Join(joining) => names.push(name("new ones", format!("mean of {joining}"))),
        Change::Restart => names.push(name("edge-1", "restarted".to_owned())),
    }
    names
}

/// What is shown of the edges at a moment; closes are those of all, counted at the first.
fn shown(plan: &Plan, record: &Record, edges: &[Moment], closes: u64) -> Vec<EdgeSample> {
    let names = record.course.moments.last().map_or(0, |(_, edges)| edges.len());
    let sample = |edge: &Moment| EdgeSample {
        requests_per_second: edge.rate / edge.weight,
        connections: edge.connections as u64,
        closes: 0,
        up: edge.up,
    };
    let mut shown: Vec<_> = if many(record) {
        let (one, old) = (usize::from(plan.change == Change::Restart), plan.scenario.edges.len());
        let mut others: Vec<_> = edges[one..old].iter().map(sample).collect();
        others.sort_by(|a, b| b.requests_per_second.total_cmp(&a.requests_per_second));
        let mut shown = Vec::new();
        for place in [0, others.len() / 2, others.len() - 1] {
            shown.push(others[place].clone());
        }
        match plan.change {
            Change::Join(0) => {}
            Change::Join(_) => shown.push(mean_of(&edges[old..])),
            Change::Restart => shown.push(sample(&edges[0])),
        }
        shown
    } else {
        let mut shown: Vec<_> = edges.iter().map(sample).collect();
        shown.resize_with(names, EdgeSample::default);
        shown
    };
    if let Some(first) = shown.first_mut() {
        first.closes = closes;
    }
    shown
}

fn mean_of(edges: &[Moment]) -> EdgeSample {
    let connections = edges.iter().map(|edge| edge.connections as u64).sum::<u64>();
    EdgeSample {
        requests_per_second: if edges.is_empty() { 0.0 } else { mean(edges) },
        connections: connections / edges.len().max(1) as u64,
        closes: 0,
        up: !edges.is_empty(),
    }
}

/// The load per weight that all would have, were they even.
fn mean(edges: &[Moment]) -> f64 {
    let up = || edges.iter().filter(|edge| edge.up);
    up().map(|edge| edge.rate).sum::<f64>() / up().map(|edge| edge.weight).sum::<f64>()
}
