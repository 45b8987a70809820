//! What of a fleet is followed singly, and what is aggregated because the whole would be too much.

use std::time::Duration;

use serde::Serialize;
use simulation::{Course, Model, Pace, Scenario};

/// Up to so many requests in a run are followed one by one.
const REQUESTS: f64 = 3e6;
/// Up to so many pairs of a node and a load balancer are modelled.
const PAIRS: usize = 200_000;
/// From so many load balancers on fewer nodes stand for all.
const MANY: usize = 100;
/// Nodes that stand for all where these are too many: of few load balancers, and of many.
const NODES: (usize, usize) = (4, 2);
/// Stamps per second of a load balancer that has nothing to close, for each modelled node, where
/// not all are followed.
const STAMPS_PER_SECOND: f64 = 5.0;

/// What was aggregated, as `--json` has it; without a value nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Aggregated {
    /// Modelled nodes, which stand for all.
    nodes: Option<usize>,
    /// Requests that one stamp stands for, at most.
    requests_per_stamp: Option<u64>,
}

/// What to aggregate of a fleet that `joining` load balancers join and that runs for `time`.
///
/// Stamps are thinned out for a few nodes only: among thousands each would see so few that what
/// it knows would be an artefact.
pub(super) fn model(scenario: &Scenario, joining: usize, time: Duration) -> Model {
    let requests = mean_rate(scenario.pace) * scenario.clients as f64 * time.as_secs_f64();
    let load_balancers = scenario.edges.len() + joining;
    let pairs = scenario.nodes.saturating_mul(load_balancers);
    let sampled = requests > REQUESTS;
    let few = if load_balancers < MANY { NODES.0 } else { NODES.1 };
    let nodes = (scenario.nodes > few && (sampled || pairs > PAIRS)).then_some(few);
    let modelled = nodes.unwrap_or(scenario.nodes);
    Model { nodes, stamps: sampled.then_some(STAMPS_PER_SECOND * modelled as f64) }
}

fn mean_rate(pace: Pace) -> f64 {
    match pace {
        Pace::Equal(mean) | Pace::Exponential(mean) | Pace::Pareto(mean, _) => mean,
        Pace::Between(least, most) => f64::midpoint(least, most),
        Pace::OneHeavy(rate, part) => rate / (1.0 - part),
    }
}

// === impl Aggregated ===

impl Aggregated {
    /// What was aggregated in a run.
    pub fn of(model: Model, course: &Course) -> Self {
        let rates = course.moments.iter().flat_map(|(_, edges)| edges).map(|edge| edge.rate);
        let highest = rates.fold(0.0, f64::max);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
        let per_stamp = |stamps: f64| (highest / stamps).ceil().max(1.0) as u64;
        Self { nodes: model.nodes, requests_per_stamp: model.stamps.map(per_stamp) }
    }

    /// In words, for a fleet of so many nodes.
    pub fn in_words(self, nodes: usize) -> String {
        let nodes = self.nodes.map(|modelled| {
            format!("{modelled} modelled nodes stand for {}", crate::report::grouped(nodes as u64))
        });
        let stamps = self.requests_per_stamp.map(|requests| {
            format!("a stamp stands for up to {} requests", crate::report::grouped(requests))
        });
        match (nodes, stamps) {
            (None, None) => "nothing: every request and every node is followed".to_owned(),
            (Some(one), None) | (None, Some(one)) => one,
            (Some(nodes), Some(stamps)) => format!("{nodes}; {stamps}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(210);

    fn of(nodes: usize, clients: usize) -> Model {
        model(&Scenario { nodes, clients, ..Scenario::default() }, 1, TIME)
    }

    #[test]
    fn small_fleets_are_followed_whole() {
        assert_eq!(of(4, 6_000), Model { nodes: None, stamps: None });
        assert_eq!(of(10_000, 6_000), Model { nodes: None, stamps: None });
    }

    #[test]
    fn many_requests_are_thinned_out_for_a_few_nodes() {
        assert_eq!(of(4, 60_000), Model { nodes: None, stamps: Some(20.0) });
        assert_eq!(of(10_000, 60_000), Model { nodes: Some(4), stamps: Some(20.0) });
        assert_eq!(of(100_000, 6_000), Model { nodes: Some(4), stamps: None });
        let edges = vec![simulation::EdgeSpec::default(); 1_000];
        let many = Scenario { edges, nodes: 10_000, clients: 60_000, ..Scenario::default() };
        assert_eq!(model(&many, 1, TIME), Model { nodes: Some(2), stamps: Some(10.0) });
    }

    #[test]
    fn what_is_aggregated_has_words() {
        let whole = Aggregated { nodes: None, requests_per_stamp: None };
        assert!(whole.in_words(4).starts_with("nothing"));
        let both = Aggregated { nodes: Some(4), requests_per_stamp: Some(512) };
        let words = "4 modelled nodes stand for 10,000; a stamp stands for up to 512 requests";
        assert_eq!(both.in_words(10_000), words);
    }
}
