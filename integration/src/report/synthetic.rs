//! A run that never happened: two edges, a third joins at 20 s, the load settles. The same
//! numbers every time, so that views can be tested and looked at without a fleet.

use super::{EdgeName, EdgeSample, Event, LoadTable, Sample, Summary, Timeline};

/// When the third edge joins, in seconds.
pub(crate) const JOIN_S: f64 = 20.0;

/// Requests per second of the whole fleet.
const TOTAL: f64 = 1_200.0;
/// Connections of the whole fleet.
const CONNECTIONS: f64 = 480.0;
/// The time constant of the approach to even load, in seconds.
const TAU_S: f64 = 16.0;

/// A run of `seconds`, one sample each.
pub(crate) fn timeline(seconds: u32) -> Timeline {
    let mut noise = Noise(7);
    let mut closes = [0.0_f64; 3];
    let mut requests = 0.0;
    let samples = (1..=seconds).map(|second| {
        let at_s = f64::from(second);
        let joined = at_s > JOIN_S;
        let moved = if joined { 1.0 - ((JOIN_S - at_s) / TAU_S).exp() } else { 0.0 };
        let third = moved / 3.0;
        let parts = [0.507 - third * 0.54, 0.493 - third * 0.46, third];
        // What moves load to the new edge, out of what random landing wastes.
        let wanted = if joined { CONNECTIONS * (1.0 - moved) / TAU_S + 2.0 } else { 2.0 };
        let just_now = (wanted + noise.next() * wanted.sqrt() * 1.4).round().max(0.0);
        let edges = parts.iter().zip(&mut closes).enumerate().map(|(i, (part, closes))| {
            let up = i < 2 || joined;
            *closes += just_now * part;
            EdgeSample {
                requests_per_second: if up {
                    (TOTAL * part * (1.0 + 0.035 * noise.next())).max(0.0)
                } else {
                    0.0
                },
                connections: whole(if up { CONNECTIONS * part } else { 0.0 }),
                closes: whole(*closes),
                up,
            }
        });
        let edges: Vec<_> = edges.collect();
        requests += edges.iter().map(|edge| edge.requests_per_second).sum::<f64>();
        Sample {
            at_s,
            edges,
            mean: None,
            closes_per_second: just_now,
            closes_wanted_per_second: wanted,
            requests: whole(requests),
            failed_requests: 0,
        }
    });
    Timeline {
        title: "Spillway demo".to_owned(),
        envoy_version: "1.40.0".to_owned(),
        policy: "rebalance, settle_time 60s".to_owned(),
        samples: samples.collect(),
        edges: (1..=3)
            .map(|i| EdgeName {
                name: format!("edge-{i}"),
                address: format!("127.0.0.{}:10000", 10 + i),
            })
            .collect(),
        events: [(0.0, "clients connect"), (JOIN_S, "edge-3 joins")]
            .into_iter()
            .filter(|&(at_s, _)| at_s <= f64::from(seconds))
            .map(|(at_s, text)| Event { at_s, text: text.to_owned() })
            .collect(),
        tolerance: 0.1,
    }
}

/// The summary of such a run.
pub(crate) fn summary(run: &Timeline) -> Summary {
    let last = run.samples.last().cloned().unwrap_or_default();
    let mut before = run.mean_load(JOIN_S - 5.0, JOIN_S);
    before.truncate(2);
    Summary {
        settle_s: run.settled_at(JOIN_S).map(|at_s| at_s - JOIN_S),
        closes: last.edges.iter().map(|edge| edge.closes).sum(),
        requests: last.requests,
        failed_requests: last.failed_requests,
        load: LoadTable {
            before,
            at: run.mean_load(JOIN_S + 1.0, JOIN_S + 1.0),
            after: run.mean_load(last.at_s - 9.0, last.at_s),
            means: None,
        },
        simulated: None,
    }
}

/// Numbers that look random, between -1 and 1, the same in every run.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1 << 23) - 1.0
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Small, and never negative.
fn whole(value: f64) -> u64 {
    value.round() as u64
}
