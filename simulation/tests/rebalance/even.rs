//! A pool that is even as far as chance allows is left alone.

use std::time::Duration;

use simulation::{EdgeSpec, Model, Pace, Scenario, World};

use crate::runs::{SETTLE_TIME, each_seed, most, node, pool};

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

#[test]
fn an_hour_costs_no_more_than_one_close_for_a_hundred_connections() {
    for edges in [2, 10] {
        for (each, rates) in
            [(20, [10.0, 100_000.0]), (10_000, [10.0, 100_000.0]), (200, [10.0, 1_000.0])]
        {
            for requests in rates {
                let closes = each_seed(1, |seed| hour(edges, each, requests, seed, None));
                println!("{edges} edges, {each} each, {requests}/s: {closes:?}");
                assert!(most(closes) <= 0.01, "{edges} edges, {each} each, {requests}/s");
            }
        }
    }
}

#[test]
fn so_it_is_with_a_thousand_edges() {
    let cases = [(20, 1_000.0), (200, 100_000.0)];
    let closes = each_seed(cases.len() as u64, |case| {
        let (each, requests) = cases[usize::try_from(case).expect("few") - 1];
        hour(1_000, each, requests, case, None)
    });
    println!("1,000 edges: {closes:?}");
    assert!(most(closes) <= 0.01);
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
