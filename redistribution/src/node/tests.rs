#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::close_rate::{CloseRate, Share};

fn config(per_second: f64) -> NodeConfig {
    NodeConfig {
        close_rate: CloseRate::PerSecond(PerSecond::new(per_second).unwrap()),
        min_connection_age: Duration::from_secs(10),
        ..NodeConfig::default()
    }
}

fn at_ms(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn stamp(vm: u64, seq: u64, connection: u64, age: u64) -> String {
    format!("id=\"edge\", vm=v{vm:016x}, seq={seq}, conn={connection}, age={age}, open=100")
}

/// Runs 1000 requests a second from one VM on 1000 connections, `own` of every 10 of them
/// to this node, and returns the close requests.
fn run(node: &mut Node, seconds: u64, own: u64, age: u64) -> Vec<String> {
    let mut headers = Vec::new();
    for seq in 0..seconds * 1000 {
        let now = at_ms(seq);
        if seq % 100 == 0 {
            node.on_tick(now);
        }
        if seq % 10 < own {
            let age = if age == 0 { 0 } else { age + seq / 1000 };
            let header = stamp(1, seq, seq / 10 % 1000, age);
            let request = node.on_request(Some(header.as_bytes()), now).unwrap();
            headers.extend(node.on_response(&request, now).map(|close| close.to_header()));
        }
    }
    headers
}

#[test]
fn it_asks_for_its_part_of_the_rate() {
    let mut node = Node::new(config(5.0), 0.5);
    let headers = run(&mut node, 100, 4, 60);
    let named = headers
        .iter()
        .map(|header| CloseRequest::parse(header.as_bytes()).unwrap().connections.len());
    let closes = named.sum::<usize>();
    assert!((closes as f64 / (5.0 * 0.4 * 100.0) - 1.0).abs() < 0.03, "{closes}");
    assert_eq!(node.counters().closes_requested, closes as u64);
    assert_eq!(node.counters().closes_lapsed, 0);
}

#[test]
fn connections_that_are_too_young_stay_and_the_closes_lapse() {
    let mut node = Node::new(config(5.0), 0.5);
    assert!(run(&mut node, 60, 10, 0).is_empty());
    assert!(node.counters().closes_lapsed > 200, "{:?}", node.counters());
}

#[test]
fn observing_counts_and_asks_for_nothing() {
    let config = NodeConfig { mode: Mode::Observe, ..config(2.0) };
    let mut node = Node::new(config, 0.5);
    assert!(run(&mut node, 100, 10, 60).is_empty());
    let observed = node.counters().closes_observed;
    assert!((190..=200).contains(&observed), "{observed}");
}

#[test]
fn where_responses_are_rare_one_names_several_connections() {
    let mut node = Node::new(config(5.0), 0.0);
    let mut named = 0;
    // Two requests a second on ever new connections; the node sees all of them.
    for seq in 0..200 {
        let now = at_ms(seq * 500);
        node.on_tick(now);
        let header = stamp(1, seq, seq, 60 + seq / 2);
        let request = node.on_request(Some(header.as_bytes()), now).unwrap();
        if seq % 4 == 0
            && let Some(close) = node.on_response(&request, now)
        {
            named += close.connections.len();
        }
    }
    assert!(named > 150, "{named}");
}

#[test]
fn an_edge_that_restarts_does_not_count_twice() {
    let mut node = Node::new(config(5.0), 0.5);
    run(&mut node, 60, 10, 60);
    let before = node.counters().closes_requested;
    let mut closes = 0;
    for seq in 0..60_000 {
        let now = at_ms(60_000 + seq);
        let header = stamp(2, seq, seq, 60 + seq / 1000);
        let request = node.on_request(Some(header.as_bytes()), now).unwrap();
        closes += u64::from(node.on_response(&request, now).is_some());
        if seq % 100 == 0 {
            node.on_tick(now);
        }
    }
    // What a stretch has earned becomes due with the next one: 4 s at most are to come.
    assert!((280..=300).contains(&before), "{before}");
    assert!((280..=310).contains(&closes), "{closes}");
}

#[test]
fn what_cannot_be_read_or_is_absent_is_counted_and_left_alone() {
    let mut node = Node::new(config(5.0), 0.5);
    assert!(node.on_request(None, at_ms(0)).is_none());
    assert!(node.on_request(Some(b"\xff"), at_ms(0)).is_none());
    assert!(node.on_request(Some(b"id=\"edge\""), at_ms(0)).is_none());
    assert_eq!(
        node.counters(),
        Counters {
            requests_unstamped: 1,
            stamps_malformed: 1,
            announcements: 1,
            ..Counters::default()
        }
    );
}

#[test]
fn requests_say_what_pool_and_weight_a_load_balancer_has_and_announcements_only_before() {
    let mut node = Node::new(config(5.0), 0.5);
    let known = |node: &Node| {
        let lb = node.load_balancers.get("edge").unwrap();
        (lb.pool.to_string(), lb.load(Duration::from_secs(2)).map(|load| load.weight))
    };
    node.on_request(Some(b"id=\"edge\", pool=\"eu\", weight=2"), at_ms(0));
    assert_eq!(known(&node).0, "eu");
    for second in 1..20 {
        let stamp = format!(
            "id=\"edge\", pool=\"us\", weight=4, vm=a, seq={second}, conn=1, age=60, open=1"
        );
        node.on_request(Some(stamp.as_bytes()), at_ms(second * 1000));
        node.on_request(Some(b"id=\"edge\""), at_ms(second * 1000));
        node.on_tick(at_ms(second * 1000));
    }
    assert_eq!(known(&node), ("us".to_owned(), Some(4.0)));
}

#[test]
fn one_that_was_stopped_for_an_hour_does_not_make_up_for_it() {
    let share = Share::Fixed { vms: 1 };
    let mut node = Node::new(NodeConfig { share, ..config(5.0) }, 0.5);
    let mut named = 0;
    for second in (0..10).chain(3_600..3_610) {
        let header = stamp(1, second, second, 3_600 + second);
        let request = node.on_request(Some(header.as_bytes()), at_ms(second * 1000)).unwrap();
        for tick in 0..10 {
            node.on_tick(at_ms(second * 1000 + tick * 100));
        }
        let close = node.on_response(&request, at_ms(second * 1000 + 900));
        named += close.map_or(0, |close| close.connections.len());
    }
    let (lapsed, rate) = (node.counters().closes_lapsed, node.close_rate().get());
    assert!(named <= 100 && lapsed <= 100, "{named} closes, and {lapsed} that lapsed");
    assert!(rate <= 5.1, "{rate}");
}

#[test]
fn tables_are_bounded_and_what_is_silent_is_forgotten() {
    let mut node = Node::new(config(5.0), 0.5);
    for id in 0..MAX_LOAD_BALANCERS + 10 {
        node.on_request(Some(format!("id=\"edge-{id}\"").as_bytes()), at_ms(0));
    }
    assert_eq!(node.load_balancers(), MAX_LOAD_BALANCERS);
    assert_eq!(node.counters().stamps_over_limit, 10);
    node.on_tick(at_ms(31_000));
    assert_eq!(node.load_balancers(), 0);
}
