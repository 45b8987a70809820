//! Closing that cannot help is found out, costs little, is named, and taken up once it can.

use std::time::Duration;

use redistribution::balance::Balance;
use simulation::{Dns, EdgeSpec, Scenario, World};

use crate::runs::{SETTLE_TIME, WARM_UP, each_seed, pool};

const CLIENTS: usize = 3_000;
const SEEDS: u64 = 2;

/// Runs an hour in which closing is in vain, takes the cause away and gives it twice the settle
/// time. `cause` are those that may be named.
fn assert_found_out(
    what: &str,
    scenario: &Scenario,
    begin: impl Fn(&mut World) + Sync,
    end: impl Fn(&mut World) + Sync,
    cause: &[&str],
) {
    let runs = each_seed(SEEDS, |seed| {
        let mut world = World::new(Scenario { seed, ..scenario.clone() });
        world.run(WARM_UP);
        begin(&mut world);
        let mut named = Vec::new();
        for _ in 0..60 {
            world.run(Duration::from_mins(1));
            for node in world.nodes() {
                named.extend(node.balances().filter_map(|balance| match balance {
                    Balance::Futile(lb) => Some(lb.to_string()),
                    _ => None,
                }));
            }
        }
        let in_vain = world.course().closes_per_connection();
        let from = world.now();
        end(&mut world);
        world.run(Duration::from_secs(200));
        (in_vain, named, world.course().settled(from))
    });
    for (in_vain, named, settled) in runs {
        println!("{what}: {in_vain:.2} closes for each in vain, then settled in {settled:?} s");
        assert!(in_vain <= 4.0, "{what}: {in_vain} closes for each");
        assert!(!named.is_empty(), "{what}: nobody is named");
        assert!(named.iter().all(|lb| cause.contains(&&**lb)), "{what}: {named:?}");
        assert!(settled.is_some_and(|time| time <= 2.0 * SETTLE_TIME), "{what}: {settled:?}");
    }
}

#[test]
fn an_edge_that_is_announced_but_not_in_dns() {
    let begin = |world: &mut World| {
        world.add_edge(EdgeSpec::default());
        world.set_dns_weight(2, 0.0);
    };
    let end = |world: &mut World| world.set_dns_weight(2, 1.0);
    assert_found_out("not in DNS", &pool(2, CLIENTS), begin, end, &["edge-3"]);
}

#[test]
fn an_edge_that_is_taken_out_of_dns_and_drains() {
    let begin = |world: &mut World| {
        world.set_dns_weight(2, 0.0);
        world.leave(2, CLIENTS / 6);
    };
    let end = |world: &mut World| world.set_dns_weight(2, 1.0);
    assert_found_out("draining", &pool(3, CLIENTS), begin, end, &["edge-3"]);
}

#[test]
fn dns_that_sends_three_in_four_to_one_edge() {
    // With clients that never leave by themselves it would soon be even in spite of DNS.
    let scenario = Scenario { lifetime: Some(Duration::from_secs(30)), ..pool(3, CLIENTS) };
    let begin = |world: &mut World| world.set_dns_weight(0, 6.0);
    let end = |world: &mut World| world.set_dns_weight(0, 1.0);
    assert_found_out("DNS 3:1", &scenario, begin, end, &["edge-2", "edge-3"]);
}

#[test]
fn clients_behind_a_resolver_that_keeps_one_address_for_an_hour() {
    let dns = Dns { ttl: Duration::from_hours(2), resolvers: Some(12) };
    let begin = |world: &mut World| world.add_edge(EdgeSpec::default());
    // The resolver is replaced by one that does not keep anything.
    let end = |world: &mut World| world.set_dns_ttl(Duration::ZERO);
    let edges: Vec<_> = (1..=3).map(|number| format!("edge-{number}")).collect();
    let edges: Vec<_> = edges.iter().map(String::as_str).collect();
    assert_found_out("resolvers", &Scenario { dns, ..pool(2, CLIENTS) }, begin, end, &edges[..]);
}
