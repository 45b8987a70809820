//! What is aggregated for large fleets changes no result: on a fleet that is small enough to be
//! followed whole, both ways settle in the same time with the same closes, but for chance.

use std::time::Duration;

use redistribution::config::NodeConfig;
use simulation::{EdgeSpec, Model, Scenario, World};

const SEEDS: u64 = 8;
const WARM_UP: Duration = Duration::from_secs(30);
const AFTER: Duration = Duration::from_mins(2);

/// What was measured of one run.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    settle_s: f64,
    closes: f64,
}

/// A fifth edge joins four, of 40 nodes, with 8,000 connections.
fn outcome(model: Model, seed: u64) -> Outcome {
    let policy =
        br#"{"close_rate": {"rebalance": {"settle_time": "60s", "max_per_second": 10000}}}"#;
    let mut world = World::new(Scenario {
        edges: vec![EdgeSpec::default(); 4],
        nodes: 40,
        clients: 8_000,
        node: NodeConfig::parse(policy).expect("a configuration"),
        model,
        seed,
        ..Scenario::default()
    });
    world.run(WARM_UP);
    world.add_edge(EdgeSpec::default());
    let (joined_s, before) = (world.now(), world.course().closes);
    world.run(AFTER);
    let course = world.course();
    let settle_s = course.settled(joined_s);
    let settle_s = settle_s.unwrap_or_else(|| panic!("{model:?}, seed {seed}: never settles"));
    Outcome { settle_s, closes: (course.closes - before) as f64 }
}

/// The mean, and its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (mean, (squares / (count - 1.0) / count).sqrt())
}

#[test]
fn an_aggregated_fleet_settles_like_one_that_is_followed_whole() {
    let whole = Model { nodes: None, stamps: None };
    let of = |model| (1..=SEEDS).map(|seed| outcome(model, seed)).collect::<Vec<_>>();
    let whole = of(whole);
    for (nodes, stamps) in [(4, 20.0), (2, 10.0)] {
        let model = Model { nodes: Some(nodes), stamps: Some(stamps) };
        agree(&whole, &of(model));
    }
}

/// Fails where two series differ by more than chance makes them.
fn agree(whole: &[Outcome], aggregated: &[Outcome]) {
    for name in ["settle_s", "closes"] {
        let of = |outcomes: &[Outcome]| {
            let measure = |run: &Outcome| if name == "closes" { run.closes } else { run.settle_s };
            mean(&outcomes.iter().map(measure).collect::<Vec<_>>())
        };
        let ((whole, error), (aggregated, other_error)) = (of(whole), of(aggregated));
        let spread = 3.0 * error.hypot(other_error);
        println!(
            "{name}: whole {whole:.1} +- {error:.1}, aggregated {aggregated:.1} +- {other_error:.1}"
        );
        assert!(
            (whole - aggregated).abs() < spread,
            "{name}: {whole} whole, {aggregated} aggregated, which chance alone ({spread}) is not"
        );
    }
}
