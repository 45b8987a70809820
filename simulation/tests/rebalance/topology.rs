//! Pools beside each other, edges with nodes of their own, and edges that go.

use std::time::Duration;

use redistribution::balance::Balance;
use simulation::{EdgeSpec, Model, Scenario, World};

use crate::runs::{WARM_UP, node, pool};

#[test]
fn a_pool_beside_one_that_is_uneven_is_left_alone() {
    let spec = |pool| EdgeSpec { pool, ..EdgeSpec::default() };
    let edges = vec![spec(0), spec(0), spec(1), spec(1)];
    let mut world = World::new(Scenario { edges, ..pool(4, 8_000) });
    world.run(WARM_UP);
    world.add_edge(spec(1));
    world.run(Duration::from_secs(200));
    let by_edge = &world.course().closes_by_edge;
    assert_eq!(by_edge[..2], [0, 0], "{by_edge:?}");
    assert!(by_edge[2] + by_edge[3] > 3_000, "{by_edge:?}");
}

/// Two edges with nodes of their own and loads of 3 to 1.
fn own_nodes(json: &str) -> World {
    let mut world = World::new(Scenario {
        own_nodes: true,
        node: node(json),
        model: Model { nodes: None, stamps: None },
        ..pool(2, 2_000)
    });
    world.set_dns_weight(0, 3.0);
    world.leave(1, 500);
    world.run(Duration::from_mins(5));
    world
}

#[test]
fn where_each_edge_has_nodes_of_its_own_there_is_nothing_to_compare() {
    let world = own_nodes("{}");
    assert_eq!(world.course().closes, 0);
    for node in world.nodes() {
        let balances: Vec<_> = node.balances().collect();
        assert!(matches!(balances[..], [Balance::Alone(_)]), "{balances:?}");
    }
    let floor = r#"{"close_rate": {"rebalance": {"floor": {"mean_connection_age": "100s"}}}}"#;
    let closes = own_nodes(floor).course().closes_per_connection();
    assert!((2.8..=3.05).contains(&closes), "{closes} closes for each in 300 s, not 3");
}

#[test]
fn there_the_other_policies_hold_their_rates() {
    let world = own_nodes(r#"{"close_rate": {"per_second": 2}}"#);
    for closes in &world.course().closes_by_edge {
        assert!((588..=612).contains(closes), "{closes} closes, not 600");
    }
    let closes = own_nodes(r#"{"close_rate": {"mean_connection_age": "100s"}}"#);
    let closes = closes.course().closes_per_connection();
    assert!((2.9..=3.05).contains(&closes), "{closes} closes for each in 300 s, not 3");
}

#[test]
fn an_edge_that_is_killed_leaves_no_close_storm() {
    for policy in ["{}", r#"{"close_rate": {"per_second": 5}}"#] {
        let mut world = World::new(Scenario { node: node(policy), ..pool(4, 8_000) });
        world.run(Duration::from_mins(1));
        let before = world.course().closes;
        world.kill_edge(2);
        world.run(Duration::from_mins(1));
        let closes = world.course().closes - before;
        let most = if policy == "{}" { 0 } else { 4 * 5 * 60 };
        assert!(closes <= most, "{policy}: {closes}");
    }
}

#[test]
fn nodes_that_come_and_go_change_nothing() {
    let mut world = World::new(Scenario { nodes: 6, ..pool(2, 6_000) });
    world.run(WARM_UP);
    let from = world.now();
    world.add_edge(EdgeSpec::default());
    for node in 0..6 {
        world.set_node_up(node, false);
        world.run(Duration::from_secs(5));
        world.set_node_up(node, true);
        world.run(Duration::from_secs(3));
    }
    world.run(Duration::from_secs(100));
    let course = world.course();
    let closes = course.closes as f64 / simulation::least_to_join(6_000, 0.1);
    let settled = course.settled(from);
    assert!(settled.is_some_and(|settled| settled <= 75.0), "{settled:?}");
    assert!(closes <= 1.12, "{closes} of the least");
}
