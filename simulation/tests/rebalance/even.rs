//! A pool that is even as far as chance allows is left alone.

use std::time::Duration;

use simulation::{EdgeSpec, Model, Pace, Scenario, World};

use crate::runs::{SETTLE_TIME, each_seed, node, pool};

const HOUR: Duration = Duration::from_hours(1);

/// Closes per connection of an hour with so many edges, connections on each, and requests a
/// second of all.
fn hour(edges: usize, each: usize, requests: f64, seed: u64, json: Option<&str>) -> f64 {
    let clients = edges * each;
    let scenario = pool(edges, clients);
    let mut world = World::new(Scenario {
        pace: Pace::Equal(requests / clients as f64),
        nodes: 2,
        model: Model { nodes: None, stamps: Some(2.0) },
        announce: Duration::from_secs(5),
        node: json.map_or(scenario.node, node),
        seed,
        ..pool(edges, clients)
    });
    world.run(HOUR);
    world.course().closes_per_connection()
}

/// Fails where one of these pools is not left alone: of so many edges, with connections on each,
/// and requests a second of all.
fn assert_left_alone(pools: &[(usize, usize, f64)]) {
    let closes = each_seed(pools.len() as u64, |case| {
        let (edges, each, requests) = pools[usize::try_from(case).expect("few") - 1];
        hour(edges, each, requests, case, None)
    });
    for ((edges, each, requests), closes) in pools.iter().zip(closes) {
        println!("{edges} edges, {each} each, {requests}/s: {closes}");
        assert!(closes <= 0.01, "{edges} edges, {each} each, {requests}/s: {closes}");
    }
}

/// With so many edges, each number of connections at each rate.
fn all(edges: usize) -> Vec<(usize, usize, f64)> {
    let each = [20, 200, 10_000].into_iter();
    let at_rates = |each| [10.0, 1_000.0, 100_000.0].map(|requests| (edges, each, requests));
    each.flat_map(at_rates).collect()
}

#[test]
fn an_hour_costs_no_more_than_one_close_for_a_hundred_connections() {
    assert_left_alone(&all(2));
    assert_left_alone(&all(10));
}

/// Fewer cases, since each takes long; `SPILLWAY_ALL=1` has all.
#[test]
fn so_it_is_with_a_thousand_edges() {
    if std::env::var_os("SPILLWAY_ALL").is_some() {
        assert_left_alone(&all(1_000));
    } else {
        assert_left_alone(&[(1_000, 20, 10.0), (1_000, 10_000, 100_000.0)]);
    }
}

#[test]
fn the_floor_is_kept_and_nothing_more() {
    let floor = r#"{"close_rate": {"rebalance": {"floor": {"mean_connection_age": "30m"}}}}"#;
    for closes in each_seed(2, |seed| hour(10, 600, 1_000.0, seed, Some(floor))) {
        assert!((1.9..=2.01).contains(&closes), "{closes} closes for each, not 2");
    }
}

#[test]
fn one_client_with_a_third_of_the_load_is_not_sent_round() {
    for edges in [2, 3, 10] {
        let runs = each_seed(4, |seed| {
            let mut world = World::new(Scenario {
                pace: Pace::OneHeavy(1.0, 1.0 / 3.0),
                seed,
                ..pool(edges, 3_000)
            });
            world.run(Duration::from_secs(30));
            world.add_edge(EdgeSpec::default());
            world.run(Duration::from_mins(5));
            (f64::from(world.closes_per_client()[0]), world.course().closes)
        });
        println!("{edges} edges: {runs:?}");
        for (closed, _) in runs {
            assert!(closed <= 300.0 / SETTLE_TIME, "{edges} edges: closed {closed} times");
        }
    }
}
