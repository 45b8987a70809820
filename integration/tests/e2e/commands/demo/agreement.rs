//! What is simulated is what happens: a real run of the demo lies within the spread of simulated
//! runs of the same fleet.
//!
//! Simulated runs are judged by the demo's own means: rates are means over five seconds, looked at
//! once a second, and a run ends once the load has been even for twenty.

use std::time::Duration;

use integration::report::{EdgeName, EdgeSample, Sample, Timeline};
use redistribution::config::NodeConfig;
use serde_json::{Value, json};
use simulation::{EdgeSpec, Order, Pace, Scenario, World};

const SEEDS: u64 = 40;
const SECOND: Duration = Duration::from_secs(1);
const WARM_UP_S: u32 = 15;
const RATE_WINDOW_S: usize = 5;
const SETTLED_FOR_S: f64 = 20.0;
const BOUND_S: u32 = 80;
/// Of all clients.
const REQUESTS_PER_SECOND: f64 = 600.0 * 1.5;
const START_SPREAD_S: f64 = 1.0;
/// The part of their requests that clients get off where the machine is not starved.
const LEAST_PACE: f64 = 0.98;

/// How a run ended.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    settle_s: f64,
    closes: f64,
}

/// The mean and the standard deviation of something over many runs.
#[derive(Clone, Copy, Debug)]
struct Spread {
    mean: f64,
    deviation: f64,
}

/// How simulated runs ended.
#[derive(Clone, Copy, Debug)]
pub struct Simulated {
    settle_s: Spread,
    closes: Spread,
}

/// The demo's fleet in simulated time.
fn fleet(seed: u64) -> Scenario {
    let node = json!({
        "close_rate": { "rebalance": { "settle_time": "40s" } },
        "min_connection_age": "2s",
    });
    Scenario {
        edges: vec![EdgeSpec::default(); 2],
        nodes: 4,
        clients: 600,
        pace: Pace::Between(1.0, 2.0),
        order: Order::Rotating,
        // From the close to the connection to the next edge it is a matter of milliseconds here.
        reconnect: Duration::ZERO,
        announce: SECOND,
        max_closes_per_second: 40.0,
        node: NodeConfig::parse(node.to_string().as_bytes()).expect("a configuration"),
        seed,
        ..Scenario::default()
    }
}

fn simulated(seed: u64) -> Outcome {
    let mut world = World::new(fleet(seed));
    let mut timeline =
        Timeline { edges: vec![EdgeName::default(); 3], tolerance: 0.1, ..Timeline::default() };
    // Requests of each edge until each second; they are as evenly spaced as those of real clients.
    let mut requests: Vec<Vec<f64>> = Vec::new();
    for second in 0..WARM_UP_S + BOUND_S {
        if second == WARM_UP_S {
            world.add_edge(EdgeSpec::default());
            requests.last_mut().expect("a second").push(0.0);
        }
        world.run(SECOND);
        let (at_s, edges) = world.course().moments.last().expect("a moment");
        let before = requests.last().cloned().unwrap_or_default();
        let sums = edges.iter().enumerate();
        requests
            .push(sums.map(|(edge, now)| before.get(edge).unwrap_or(&0.0) + now.rate).collect());
        let edge = |edge: usize| {
            let counts: Vec<_> = requests.iter().filter_map(|sums| sums.get(edge)).collect();
            let from = counts.len().saturating_sub(1 + RATE_WINDOW_S);
            let rate = match counts[from..] {
                [first, .., last] => (last - first) / (counts.len() - 1 - from) as f64,
                _ => 0.0,
            };
            let up = !counts.is_empty();
            EdgeSample { requests_per_second: rate, up, ..EdgeSample::default() }
        };
        timeline.samples.push(Sample {
            at_s: *at_s,
            edges: (0..3).map(edge).collect(),
            ..Sample::default()
        });
        let settled_s = timeline.settled_at(f64::from(WARM_UP_S));
        if settled_s.is_some_and(|settled_s| at_s - settled_s >= SETTLED_FOR_S) {
            break;
        }
    }
    let joined_s = f64::from(WARM_UP_S);
    let settled_s = timeline.settled_at(joined_s);
    Outcome {
        settle_s: settled_s.expect("a simulated run settles") - joined_s,
        closes: world.course().closes as f64,
    }
}

// === impl Simulated ===

impl Simulated {
    /// Simulates.
    pub fn runs() -> Self {
        let runs: Vec<_> = (0..SEEDS).map(simulated).collect();
        let settle_s = Spread::of(runs.iter().map(|run| run.settle_s));
        let closes = Spread::of(runs.iter().map(|run| run.closes));
        eprintln!("simulated: settle_s {settle_s:.1?}, closes {closes:.1?}");
        Self { settle_s, closes }
    }

    /// Fails where the real run that has left `result` is not like them.
    pub fn assert_like(&self, result: &Value) {
        let policy = "rebalance settle_time 40s";
        assert_eq!(result["policy"], policy, "what is simulated is another policy");
        let settle_s = result["settle_s"].as_f64().expect("a time");
        let closes = result["closes"].as_f64().expect("a number");
        let number = |of: &Value| of.as_f64().expect("a number");
        let seconds = number(&result["duration_s"]) - START_SPREAD_S / 2.0;
        let pace = number(&result["requests"]) / (REQUESTS_PER_SECOND * seconds);
        eprintln!(
            "real: settle_s {settle_s:.1}, closes {closes}, {:.1} % of the pace",
            100.0 * pace
        );
        self.closes.assert_has(closes, 0.0, "closes");
        if pace < LEAST_PACE {
            // Starved edges all forward what they can: their loads look even, and are not.
            eprintln!("settle_s is not compared: the clients could not keep their pace");
            return;
        }
        // Both look once a second, and not at the same moments.
        self.settle_s.assert_has(settle_s, 1.0, "settle_s");
    }
}

// === impl Spread ===

impl Spread {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count() as f64;
        let mean = values.clone().sum::<f64>() / count;
        let squares = values.map(|value| (value - mean).powi(2)).sum::<f64>();
        Self { mean, deviation: (squares / (count - 1.0)).sqrt() }
    }

    /// Fails where `value`, which is exact to `resolution`, is farther out than one run in a
    /// thousand.
    fn assert_has(&self, value: f64, resolution: f64, what: &str) {
        let far = (value - self.mean).abs() - resolution;
        assert!(far <= 3.3 * self.deviation, "{what} of a real run is {value}, simulated {self:?}");
    }
}
