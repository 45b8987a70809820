//! Edges that join, or come back empty, get their part in time and at the least cost.

use std::time::Duration;

use redistribution::balance::Balance;
use redistribution::config::NodeConfig;
use redistribution::node::Node;
use simulation::{Dns, EdgeSpec, Model, Pace, Scenario, World, closes_floor, least_to_join};

use crate::runs::{SETTLE_TIME, WARM_UP, each_seed, median, most, node, pool};

const SEEDS: u64 = 20;

/// How many seconds a run goes on after the change, and from when on there has to be silence.
const AFTER_S: u32 = 130;
const SILENT_FROM: f64 = 90.0;

/// What came of a change.
#[derive(Debug)]
struct Outcome {
    settled: Option<f64>,
    per_least: f64,
    overshoot: f64,
    later: u64,
    most_closed: u8,
    before: u64,
    futile: bool,
}

fn outcome(
    scenario: Scenario,
    least: f64,
    prepare: impl Fn(&mut World),
    change: impl Fn(&mut World),
) -> Outcome {
    let mut world = World::new(scenario);
    world.run(WARM_UP);
    prepare(&mut world);
    let before = world.course().closes;
    let from = world.now();
    change(&mut world);
    let mut futile = false;
    for _ in 0..AFTER_S {
        world.run(Duration::from_secs(1));
        let mut balances = world.nodes().flat_map(Node::balances);
        futile |= balances.any(|balance| matches!(balance, Balance::Futile(_)));
    }
    let course = world.course();
    Outcome {
        settled: course.settled(from),
        per_least: (course.closes - before) as f64 / least,
        overshoot: course.overshoot(from),
        later: course.closes_between(from + SILENT_FROM, f64::MAX),
        most_closed: course.most_closed,
        before,
        futile,
    }
}

fn join(new: usize) -> impl Fn(&mut World) {
    move |world| (0..new).for_each(|_| world.add_edge(EdgeSpec::default()))
}

fn joining(scenario: &Scenario, new: usize, seeds: u64) -> Vec<Outcome> {
    let least = least_to_join(scenario.clients, 0.1);
    each_seed(seeds, |seed| {
        outcome(Scenario { seed, ..scenario.clone() }, least, |_| (), join(new))
    })
}

/// Within what luck may keep the loads of so many edges: the tolerance, or what landing makes of
/// some edge in one of ten thousand pools (the normal quantile, for small chances about that).
fn band(edges: usize, clients: usize) -> f64 {
    let count = edges as f64;
    let z = (2.0 * (count / 1e-4).ln()).sqrt() - 0.4;
    f64::max(0.1, z * ((count - 1.0) / clients as f64).sqrt())
}

/// What holds for clients that are alike, in every run: settled in time, within the band and 5 %
/// more, silent after, and nobody closed three times. And in the median, what it costs.
fn assert_promises(what: &str, scenario: &Scenario, new: usize, runs: &[Outcome]) {
    let far = band(scenario.edges.len() + new, scenario.clients) + 0.05;
    let cost = median(runs.iter().map(|run| run.per_least));
    let settled = most(runs.iter().map(|run| run.settled.unwrap_or(f64::INFINITY)));
    println!("{what}: closes/least {cost:.3}, settled within {settled:.0} s");
    assert!(cost <= 1.08, "{what}: {cost} of the least closes");
    for run in runs {
        assert_eq!(run.before, 0, "{what}: an even pool is left alone: {run:?}");
        assert!(run.settled.is_some_and(|time| time <= SETTLE_TIME), "{what}: {run:?}");
        assert!(run.overshoot <= far, "{what}: {run:?}");
        assert_eq!(run.later, 0, "{what}: {run:?}");
        assert!(run.most_closed <= 2, "{what}: {run:?}");
        assert!(!run.futile, "{what}: it is not in vain: {run:?}");
    }
}

#[test]
fn edges_that_join_get_their_part_in_time_and_at_the_least_cost() {
    for (old, new, clients) in [
        (2, 1, 6_000),
        (3, 2, 10_000),
        (10, 1, 22_000),
        (100, 1, 101_000),
        // Of so many, the luckless one that an episode waits for is far out where each has few clients.
        (100, 50, 800_000),
    ] {
        let scenario = pool(old, clients);
        let runs = joining(&scenario, new, SEEDS);
        assert_promises(&format!("{old} + {new}"), &scenario, new, &runs);
    }
}

#[test]
fn an_edge_that_comes_back_empty_gets_its_part_again() {
    let scenario = pool(10, 22_000);
    let least = least_to_join(scenario.clients, 0.1);
    let restart = |world: &mut World| world.restart_edge(3);
    // Also before nodes have forgotten what it was.
    for (away, seeds) in [(60, SEEDS), (2, SEEDS / 4), (10, SEEDS / 4), (25, SEEDS / 4)] {
        let kill = |world: &mut World| {
            world.kill_edge(3);
            world.run(Duration::from_secs(away));
        };
        let runs = each_seed(seeds, |seed| {
            outcome(Scenario { seed, ..scenario.clone() }, least, kill, restart)
        });
        assert_promises(&format!("one of 10 back after {away} s"), &scenario, 0, &runs);
    }
}

#[test]
fn however_many_nodes_there_are() {
    // Every request is followed here, and nodes hear from each edge once a second or more.
    for (nodes, clients, seeds) in [(1, 6_000, 2), (10, 6_000, 2), (10_000, 30_000, 1)] {
        let scenario = Scenario {
            nodes,
            clients,
            pace: Pace::Equal(2.0),
            announce: Duration::from_secs(5),
            model: Model { nodes: None, stamps: None },
            ..pool(2, clients)
        };
        let least = least_to_join(clients, 0.1);
        let runs = each_seed(seeds, |seed| {
            outcome(Scenario { seed, ..scenario.clone() }, least, |_| (), join(1))
        });
        // Of ten thousand nodes, each of which looks by itself, some see more than there is.
        let few = u64::from(nodes > 1000) * clients as u64 / 1000;
        for run in &runs {
            println!("{nodes} nodes: {run:?}");
            assert!(run.before <= few && run.later <= few, "{nodes} nodes: {run:?}");
            assert!(run.settled.is_some_and(|time| time <= SETTLE_TIME), "{nodes} nodes: {run:?}");
            assert!(run.overshoot <= 0.15 && run.most_closed <= 2, "{nodes} nodes: {run:?}");
        }
        assert!(median(runs.iter().map(|run| run.per_least)) <= 1.08, "{nodes} nodes: {runs:?}");
    }
}

#[test]
fn also_with_the_longest_delay_that_is_documented() {
    // tau / e for the settle time, of which the share window takes its part.
    let delay = SETTLE_TIME / (1.0_f64 / 0.08).ln() / std::f64::consts::E - 2.0;
    let late_dns = Scenario {
        dns: Dns { ttl: Duration::from_secs_f64(delay), resolvers: Some(500) },
        ..pool(2, 6_000)
    };
    let late_clients = Scenario { reconnect: Duration::from_secs_f64(delay), ..pool(10, 22_000) };
    let long_window = Scenario {
        node: node(
            r#"{"share_window": "3s", "close_rate": {
                "rebalance": {"settle_time": "60s", "max_per_second": 10000}}}"#,
        ),
        ..pool(3, 10_000)
    };
    for (what, scenario) in
        [("DNS", late_dns), ("clients", late_clients), ("share window", long_window)]
    {
        let runs = joining(&scenario, 1, SEEDS / 4);
        assert_promises(what, &scenario, 1, &runs);
    }
}

#[test]
fn where_few_send_most_it_takes_fewer_closes() {
    for (what, pace) in
        [("exponential", Pace::Exponential(1.0)), ("Pareto 1.5", Pace::Pareto(1.0, 1.5))]
    {
        for (old, new, clients) in [(2, 1, 6_000), (10, 1, 22_000)] {
            let runs = joining(&Scenario { pace, ..pool(old, clients) }, new, SEEDS / 4);
            let cost = median(runs.iter().map(|run| run.per_least));
            println!("{what}, {old} + {new}: closes/least {cost:.3}");
            assert!(cost <= 0.9, "{what}, {old} + {new}: {cost}");
        }
    }
}

#[test]
fn weights_are_met_by_clients_that_land_alike() {
    let weights = [1.0, 2.0, 4.0];
    let edges = weights.map(|weight| EdgeSpec { weight, ..EdgeSpec::default() }).to_vec();
    let runs = each_seed(SEEDS, |seed| {
        let mut world = World::new(Scenario { edges: edges.clone(), seed, ..pool(3, 9_000) });
        let at_first: Vec<_> = vec![3_000.0; 3];
        world.run(Duration::from_mins(5));
        let course = world.course();
        let cost = course.closes as f64 / closes_floor(&at_first, &weights, 0.1);
        (course.settled(0.0), cost, course.closes_between(200.0, f64::MAX))
    });
    let cost = median(runs.iter().map(|run| run.1));
    println!("weights 1:2:4: closes/least {cost:.3}, {runs:?}");
    assert!(cost <= 1.25, "{cost}");
    for (settled, _, later) in runs {
        // It takes until the nodes have looked around for the first time.
        let time = 2.0 * SETTLE_TIME + WARM_UP.as_secs_f64();
        assert!(settled.is_some_and(|settled| settled <= time), "{settled:?}");
        assert_eq!(later, 0);
    }
}

#[test]
fn a_policy_that_goes_by_the_mean_age_never_falls_silent() {
    // What the promises above are held against: they do not hold for every policy.
    let node: NodeConfig = node(r#"{"close_rate": {"mean_connection_age": "26s"}}"#);
    let runs = joining(&Scenario { node, ..pool(2, 6_000) }, 1, 2);
    for run in runs {
        assert!(run.later > 6_000 && run.per_least > 3.0, "{run:?}");
    }
}
