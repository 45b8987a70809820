//! Counts become samples: what the edges and nodes counted (Envoy's stats) and what the clients
//! counted, as rates.
//!
//! Request rates are means over [`RATE_WINDOW`], because requests come in the rhythm of the
//! clients and their number within one second says more about that than about the load. An edge
//! that joined within the window is measured from its first reading on. Closes are rates over
//! the time since the sample before.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;

use super::RATE_WINDOW;
use crate::client::ClientPool;
use crate::envoy::Envoy;
use crate::fleet::Fleet;
use crate::report::{EdgeSample, Sample};

/// Whose count of closes goes into the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClosesOf {
    /// That of the edges' filters: clients that were told to close.
    Filters,
    /// That of the clients: connections that have ended, whoever ended them and however.
    Clients,
}

/// Turns the fleet's counters into samples; to be asked about once a second.
#[derive(Debug)]
pub(super) struct Sampler {
    start: Instant,
    closes_of: ClosesOf,
    /// One for each edge so far, in the order they joined.
    edges: Vec<EdgeReadings>,
    /// Closes of all edges at the sample before, and when.
    before: (Instant, u64),
}

/// The readings of one edge within the window, the oldest first.
#[derive(Debug, Default)]
struct EdgeReadings(VecDeque<Reading>);

/// What an edge had counted at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reading {
    at: Instant,
    requests: u64,
    connections: u64,
    closes: u64,
}

// === impl Sampler ===

impl Sampler {
    /// Starts the clock of the run.
    pub fn start(closes_of: ClosesOf) -> Self {
        let start = Instant::now();
        Self { start, closes_of, edges: Vec::new(), before: (start, 0) }
    }

    /// Time since the start, in seconds.
    pub fn now_s(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Measures. Edges that have not joined yet are entered as not up, so that there are `edges`.
    ///
    /// # Errors
    ///
    /// The admin interface of an edge or node does not answer.
    pub async fn sample(
        &mut self,
        fleet: &Fleet,
        clients: &ClientPool,
        edges: usize,
    ) -> Result<Sample> {
        let mut wanted_millis = 0;
        for node in fleet.nodes() {
            let stats = node.envoy.stats().await?;
            wanted_millis += stats.gauge("wasmcustom.spillway.node.close_rate_millis");
        }
        self.edges.resize_with(fleet.edges().len(), EdgeReadings::default);
        for (edge, readings) in fleet.edges().iter().zip(&mut self.edges) {
            let mut reading = Reading::take(&edge.envoy).await?;
            if self.closes_of == ClosesOf::Clients {
                reading.closes = clients.totals().ended_on(edge.address.ip());
            }
            readings.add(reading);
        }
        let totals = clients.totals();
        let now = Instant::now();

        let mut samples: Vec<_> = self.edges.iter().filter_map(EdgeReadings::sample).collect();
        let closes = samples.iter().map(|edge| edge.closes).sum();
        let (before, closes_before) = std::mem::replace(&mut self.before, (now, closes));
        samples.resize_with(edges.max(samples.len()), EdgeSample::default);
        Ok(Sample {
            at_s: (now - self.start).as_secs_f64(),
            edges: samples,
            mean: None,
            closes_per_second: per_second(closes_before, closes, now - before),
            closes_wanted_per_second: wanted_millis as f64 / 1_000.0,
            requests: totals.requests,
            failed_requests: totals.failed,
        })
    }
}

// === impl EdgeReadings ===

impl EdgeReadings {
    fn add(&mut self, reading: Reading) {
        // The newest of those that are older than the window stays: rates go over all of it.
        while self.0.get(1).is_some_and(|second| reading.at - second.at >= RATE_WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back(reading);
    }

    /// The edge now; `None` before the first reading.
    fn sample(&self) -> Option<EdgeSample> {
        let (oldest, newest) = (self.0.front()?, self.0.back()?);
        Some(EdgeSample {
            requests_per_second: per_second(
                oldest.requests,
                newest.requests,
                newest.at - oldest.at,
            ),
            connections: newest.connections,
            closes: newest.closes,
            up: true,
        })
    }
}

// === impl Reading ===

impl Reading {
    async fn take(edge: &Envoy) -> Result<Self> {
        let stats = edge.stats().await?;
        Ok(Self {
            at: Instant::now(),
            requests: stats.counter("http.public.downstream_rq_total"),
            connections: stats.gauge("http.public.downstream_cx_active"),
            closes: stats.sum_prefix("wasmcustom.spillway.lb.closes_announced."),
        })
    }
}

fn per_second(before: u64, after: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { after.saturating_sub(before) as f64 / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(requests: &[(u64, u64)]) -> Vec<f64> {
        let start = Instant::now();
        let mut readings = EdgeReadings::default();
        let rate = |&(at_s, requests): &(u64, u64)| {
            let at = start + Duration::from_secs(at_s);
            readings.add(Reading { at, requests, connections: 3, closes: 2 });
            readings.sample().map_or(f64::NAN, |edge| edge.requests_per_second)
        };
        requests.iter().map(rate).collect()
    }

    #[test]
    fn an_edge_without_readings_is_not_there() {
        assert_eq!(EdgeReadings::default().sample(), None);
    }

    #[test]
    fn a_new_edge_is_measured_from_its_first_reading() {
        assert_eq!(rates(&[(20, 0), (21, 10), (22, 40)]), [0.0, 10.0, 20.0]);
    }

    #[test]
    fn rates_are_means_over_the_window() {
        let steady: Vec<_> = (0..8).map(|second| (second, second * 100)).collect();
        assert_eq!(rates(&steady)[1..], [100.0; 7]);
        // Nothing in the last five seconds: what was before no longer counts.
        let ended = [(0, 0), (1, 500), (2, 500), (3, 500), (4, 500), (5, 500), (6, 500)];
        assert_eq!(rates(&ended)[5..], [100.0, 0.0]);
    }

    #[test]
    fn a_late_reading_makes_the_window_longer_and_the_rate_no_other() {
        assert_eq!(rates(&[(0, 0), (4, 400), (12, 1_200)]), [0.0, 100.0, 100.0]);
    }
}
