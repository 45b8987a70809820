//! Whether closing helps: what a while of closing should have moved, against what has moved.
//!
//! The law of [`rebalance`](crate::rebalance) trusts that clients who are closed land on any load
//! balancer of the pool alike. Of `X` closes each of the `L` load balancers should get `X / L`.
//! Whether those that are to gain do gain is seen at once from the connections they have open,
//! which they stamp: no noise is in these numbers but the clients' own coming and going.

use std::time::Duration;

use crate::Timestamp;
use crate::rebalance::Load;

/// It helps where this part of what should come does come.
const PART_TO_SUCCEED: f64 = 1.0 / 2.0;

/// It plainly does not help, and need not be watched for as long, where not even this part comes.
const PART_TO_FAIL_SOON: f64 = 1.0 / 8.0;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Trial {
    since: Timestamp,
    /// For each load balancer, what it had then.
    before: Vec<f64>,
    /// For each that is to gain, what it should have got so far; nothing for the others.
    expected: Vec<Option<f64>>,
    /// What each should get a second, as of the last time.
    gains: Vec<f64>,
}

/// What a trial has shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Too little to say.
    Open,
    /// Closing helps.
    Helps,
    /// It does not, least of all the load balancer with this index.
    Futile(usize),
}

// === impl Trial ===

impl Trial {
    /// Begins. To gain are those that miss most: others may be below the mean by luck in counting
    /// only, of which each node has its own.
    #[must_use]
    pub fn new(loads: &[Load], now: Timestamp) -> Self {
        let weights: f64 = loads.iter().map(|load| load.weight).sum();
        let mean = loads.iter().map(|load| load.rate.get()).sum::<f64>() / weights;
        let missing = |load: &Load| mean - load.per_weight();
        let most = loads.iter().map(missing).fold(0.0, f64::max);
        let expected = loads.iter().map(|load| (missing(load) > most / 2.0).then_some(0.0));
        Self {
            since: now,
            before: loads.iter().map(|load| load.connections).collect(),
            expected: expected.collect(),
            gains: Vec::new(),
        }
    }

    /// Takes in that for `elapsed` connections were closed as last said, and that from now on
    /// those of each load balancer are closed at these hazards, per second.
    pub fn close(&mut self, loads: &[Load], hazards: &[f64], elapsed: Duration) {
        let elapsed = elapsed.as_secs_f64();
        for (expected, gain) in self.expected.iter_mut().zip(&self.gains) {
            if let Some(expected) = expected {
                *expected += gain * elapsed;
            }
        }
        let closes = || loads.iter().zip(hazards).map(|(load, hazard)| load.connections * hazard);
        let each = closes().sum::<f64>() / loads.len() as f64;
        self.gains = closes().map(|own| each - own).collect();
    }

    /// What it has shown, where closing should show within `time`. It is not called futile before
    /// those that are to gain have got fewer connections than they should by `sure` standard
    /// deviations of what luck makes of so many.
    #[must_use]
    pub fn verdict(&self, loads: &[Load], sure: f64, time: Duration, now: Timestamp) -> Verdict {
        let (gained, due) = self
            .gains(loads)
            .fold((0.0, 0.0), |(gained, due), (_, gain, expected)| (gained + gain, due + expected));
        if gained >= 1.0 && gained >= due * PART_TO_SUCCEED {
            return Verdict::Helps;
        }
        let elapsed = now.since(self.since);
        let late = elapsed >= time;
        let plain = elapsed >= time / 2 && gained < due * PART_TO_FAIL_SOON;
        if due - gained >= sure * due.sqrt() && (late || plain) {
            return Verdict::Futile(self.least(loads));
        }
        Verdict::Open
    }

    /// The index of the one that misses most of what it should have gained.
    #[must_use]
    pub fn least(&self, loads: &[Load]) -> usize {
        let missed = self.gains(loads).map(|(index, gain, expected)| (index, expected - gain));
        let first = |a: (usize, f64), b: (usize, f64)| if b.1 > a.1 { b } else { a };
        missed.reduce(first).map_or(0, |(index, _)| index)
    }

    /// Of each that is to gain: its index, what it has gained, and what it should have.
    fn gains(&self, loads: &[Load]) -> impl Iterator<Item = (usize, f64, f64)> {
        let now_open: f64 = loads.iter().map(|load| load.connections).sum();
        let grown = now_open / self.before.iter().sum::<f64>();
        let grown = if grown.is_finite() { grown } else { 1.0 };
        let each = loads.iter().zip(&self.before).zip(&self.expected).enumerate();
        each.filter_map(move |(index, ((load, before), expected))| {
            Some((index, load.connections - before * grown, (*expected)?))
        })
    }

    /// How long it has gone on.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.since)
    }
}
