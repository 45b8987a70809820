//! The course of a run: one sample of every edge at a time, and what happened between.
//!
//! All that is shown or reported about load comes from here, and so does the verdict: the
//! load has *settled* when it is even and stays so (design.md, section 9), which only the
//! samples that follow can tell. That is why it is judged here, backwards from the end, and
//! not while the run goes on.

use serde::Serialize;

/// How long the load must have been even at the end of a run to count as settled, in seconds.
const SETTLED_FOR_AT_LEAST_S: f64 = 5.0;

/// A run, from its start (0 s) to its last sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timeline {
    /// What was run, for the head of a report: `Spillway demo`.
    pub title: String,
    /// The version of the Envoy binary, such as `1.40.0`; empty where there was none.
    pub envoy_version: String,
    /// The close-rate policy in words, such as `mean_connection_age 60s`.
    pub policy: String,
    /// Every edge that takes part at any time, in the order of [`Sample::edges`].
    pub edges: Vec<EdgeName>,
    /// What happened, in order of time.
    pub events: Vec<Event>,
    /// The measurements, in order of time; usually one per second.
    pub samples: Vec<Sample>,
    /// How far an edge's request rate may be from the mean to count as even, as a fraction.
    pub tolerance: f64,
}

/// An edge (load balancer) as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EdgeName {
    /// Its name, such as `edge-1`.
    pub name: String,
    /// The address that clients connect to, such as `127.0.0.11:8080`.
    pub address: String,
}

/// Something that happened, such as `edge-3 joins`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Event {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// What happened, in a few words.
    pub text: String,
}

/// What was measured at one moment, over the time since the sample before; request rates may be
/// means over some seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// One entry for each of [`Timeline::edges`].
    pub edges: Vec<EdgeSample>,
    /// The mean request rate of all edges, where [`Timeline::edges`] stand for more than themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Connections closed per second, over all edges.
    pub closes_per_second: f64,
    /// The close rate that the policy wanted, over all edges.
    pub closes_wanted_per_second: f64,
    /// Requests since the start of the run.
    pub requests: u64,
    /// Requests since the start of the run that got no complete, successful response.
    pub failed_requests: u64,
}

/// One edge at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EdgeSample {
    /// Requests per second that it handled.
    pub requests_per_second: f64,
    /// Client connections open on it.
    pub connections: u64,
    /// Connections closed on it since the start of the run.
    pub closes: u64,
    /// Whether it takes part: only such edges count towards the mean.
    pub up: bool,
}

// === impl Timeline ===

impl Timeline {
    /// The first time, at or after `from_s`, from which the load is even at every sample to
    /// the end of the run, in seconds since its start.
    ///
    /// `None` where that never comes, or has lasted for less than the last five seconds.
    #[must_use]
    pub fn settled_at(&self, from_s: f64) -> Option<f64> {
        let end_s = self.samples.last()?.at_s;
        let since_s = self
            .samples
            .iter()
            .rev()
            .take_while(|sample| sample.at_s >= from_s && sample.is_even(self.tolerance))
            .last()?
            .at_s;
        (end_s - since_s >= SETTLED_FOR_AT_LEAST_S).then_some(since_s)
    }

    /// When an edge last joined or left, in seconds: the time of the event that led to it if
    /// there is one in that interval, otherwise of the first sample that shows it.
    #[must_use]
    pub fn changed_at(&self) -> Option<f64> {
        let up = |sample: &Sample| sample.edges.iter().map(|edge| edge.up).collect::<Vec<_>>();
        let change = self.samples.windows(2).rev().find(|pair| up(&pair[0]) != up(&pair[1]))?;
        let (before_s, shown_s) = (change[0].at_s, change[1].at_s);
        let event =
            self.events.iter().find(|event| event.at_s >= before_s && event.at_s <= shown_s);
        Some(event.map_or(shown_s, |event| event.at_s))
    }

    /// The edges that were not there at the first sample and are at the last, by index.
    #[must_use]
    pub fn joined(&self) -> Vec<usize> {
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else {
            return Vec::new();
        };
        let up = |sample: &Sample, i: usize| sample.edges.get(i).is_some_and(|edge| edge.up);
        (0..self.edges.len()).filter(|&i| !up(first, i) && up(last, i)).collect()
    }

    /// The mean request rate of each edge over the samples from `from_s` to `to_s` (both
    /// included), in requests per second: a column of a [`LoadTable`](super::LoadTable).
    #[must_use]
    pub fn mean_load(&self, from_s: f64, to_s: f64) -> Vec<f64> {
        let within: Vec<_> = self
            .samples
            .iter()
            .filter(|sample| sample.at_s >= from_s && sample.at_s <= to_s)
            .collect();
        let samples = within.len().max(1) as f64;
        (0..self.edges.len())
            .map(|i| {
                let rates = within.iter().filter_map(|sample| sample.edges.get(i));
                rates.map(|edge| edge.requests_per_second).sum::<f64>() / samples
            })
            .collect()
    }

    /// The length of the run, in seconds.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        let sampled = self.samples.last().map_or(0.0, |sample| sample.at_s);
        self.events.iter().fold(sampled, |end, event| end.max(event.at_s))
    }
}

// === impl Sample ===

impl Sample {
    /// The mean request rate of the edges that are up, in requests per second; `None` where
    /// there is no such edge.
    #[must_use]
    pub fn mean_requests_per_second(&self) -> Option<f64> {
        if self.mean.is_some() {
            return self.mean;
        }
        let up = self.edges.iter().filter(|edge| edge.up);
        let (count, sum) =
            up.fold((0_u32, 0.0), |(count, sum), edge| (count + 1, sum + edge.requests_per_second));
        (count > 0).then(|| sum / f64::from(count))
    }

    /// The edge that is farthest from the mean, by index, and its deviation as a fraction of
    /// the mean (`-1.0`: it gets nothing). `None` where no edge is up or nothing is requested.
    #[must_use]
    pub fn farthest_from_mean(&self) -> Option<(usize, f64)> {
        let mean = self.mean_requests_per_second().filter(|&mean| mean > 0.0)?;
        self.edges
            .iter()
            .enumerate()
            .filter(|(_, edge)| edge.up)
            .map(|(i, edge)| (i, edge.requests_per_second / mean - 1.0))
            .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
    }

    /// Whether every edge that is up is within `tolerance` (a fraction) of the mean.
    #[must_use]
    pub fn is_even(&self, tolerance: f64) -> bool {
        // A rate that is exactly on the line is inside, whatever the rounding of the division.
        self.farthest_from_mean().is_some_and(|(_, deviation)| deviation.abs() <= tolerance + 1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A timeline with one sample per second of the given rates; a negative rate is an edge
    /// that is not up.
    fn timeline(rates: &[&[f64]]) -> Timeline {
        let samples = rates.iter().enumerate().map(|(second, rates)| Sample {
            at_s: second as f64,
            edges: rates
                .iter()
                .map(|&rate| EdgeSample {
                    requests_per_second: rate.max(0.0),
                    up: rate >= 0.0,
                    ..EdgeSample::default()
                })
                .collect(),
            ..Sample::default()
        });
        Timeline {
            edges: vec![EdgeName::default(); rates.first().map_or(0, |rates| rates.len())],
            samples: samples.collect(),
            tolerance: 0.1,
            ..Timeline::default()
        }
    }

    const EVEN: &[f64] = &[100.0, 105.0, 95.0];
    const ON_THE_LINE: &[f64] = &[110.0, 90.0, 100.0];
    const UNEVEN: &[f64] = &[150.0, 150.0, 0.0];
    const BEFORE: &[f64] = &[150.0, 150.0, -1.0];

    #[test]
    fn settles_where_the_last_unbroken_even_stretch_begins() {
        let run =
            timeline(&[BEFORE, UNEVEN, EVEN, UNEVEN, EVEN, EVEN, ON_THE_LINE, EVEN, EVEN, EVEN]);
        assert_eq!(run.settled_at(0.0), Some(4.0));
        assert_eq!(run.settled_at(1.0), Some(4.0));
    }

    #[test]
    fn does_not_settle_before_the_time_asked_from() {
        let run = timeline(&[EVEN; 10]);
        assert_eq!(run.settled_at(0.0), Some(0.0));
        assert_eq!(run.settled_at(2.5), Some(3.0));
    }

    #[test]
    fn less_than_five_even_seconds_at_the_end_are_not_settled() {
        let mut run = timeline(&[UNEVEN, EVEN, EVEN, EVEN, EVEN, EVEN]);
        assert_eq!(run.settled_at(0.0), None);
        run.samples.push(Sample { at_s: 6.0, ..run.samples[5].clone() });
        assert_eq!(run.settled_at(0.0), Some(1.0));
        assert_eq!(run.settled_at(1.5), None);
    }

    #[test]
    fn a_run_that_ends_uneven_or_without_samples_is_not_settled() {
        assert_eq!(timeline(&[EVEN, EVEN, EVEN, UNEVEN]).settled_at(0.0), None);
        assert_eq!(timeline(&[]).settled_at(0.0), None);
    }

    #[test]
    fn a_fleet_without_requests_is_not_even() {
        let silent: &[f64] = &[0.0, 0.0];
        assert_eq!(timeline(&[silent; 10]).settled_at(0.0), None);
        let down: &[f64] = &[-1.0, -1.0];
        assert_eq!(timeline(&[down; 10]).settled_at(0.0), None);
    }

    #[test]
    fn only_edges_that_are_up_count_towards_the_mean() {
        let run = timeline(&[BEFORE, UNEVEN]);
        assert_eq!(run.samples[0].mean_requests_per_second(), Some(150.0));
        assert_eq!(run.samples[0].farthest_from_mean(), Some((1, 0.0)));
        assert_eq!(run.samples[1].mean_requests_per_second(), Some(100.0));
        assert_eq!(run.samples[1].farthest_from_mean(), Some((2, -1.0)));
    }

    #[test]
    fn a_change_is_dated_by_its_event_where_there_is_one() {
        let mut run = timeline(&[BEFORE, BEFORE, UNEVEN, EVEN]);
        assert_eq!(run.changed_at(), Some(2.0));
        run.events.push(Event { at_s: 1.25, text: "edge-3 joins".to_owned() });
        assert_eq!(run.changed_at(), Some(1.25));
        assert_eq!(run.joined(), [2]);
        assert_eq!(timeline(&[EVEN, EVEN]).changed_at(), None);
    }

    #[test]
    fn the_mean_load_is_taken_over_the_samples_of_the_interval() {
        let run = timeline(&[UNEVEN, EVEN, ON_THE_LINE]);
        assert_eq!(run.mean_load(1.0, 2.0), [105.0, 97.5, 97.5]);
        assert_eq!(run.mean_load(7.0, 9.0), [0.0, 0.0, 0.0]);
    }
}
