//! Stamps of edges that are broken or mean harm, and clocks that jump: whatever a node is told, and
//! whenever it is, shares stay within a whole, rates are numbers, and tables have their bounds.
#![cfg(not(target_family = "wasm"))]

use std::time::Duration;

use proptest::prelude::*;
use redistribution::close_rate::PerSecond;
use redistribution::config::NodeConfig;
use redistribution::node::{MAX_LOAD_BALANCERS, Node};
use redistribution::request_share::RequestShare;
use redistribution::wire::{CloseRequest, MAX_CONNECTIONS, MAX_INTEGER, Position};
use redistribution::{Timestamp, VmToken};

const POLICIES: [&str; 4] = [
    r#"{"close_rate": {"per_second": 100}, "min_connection_age": "0s", "share_window": "1s"}"#,
    r#"{"close_rate": {"mean_connection_age": "1s"}, "min_connection_age": "0s", "share_window": "1s"}"#,
    r#"{"close_rate": {"rebalance": {"settle_time": "20s"}}, "min_connection_age": "0s", "share_window": "1s"}"#,
    r#"{"close_rate": {"rebalance": {"settle_time": "20s", "floor": {"mean_connection_age": "1m"}}}, "share_window": "1s"}"#,
];

/// How a counter goes on from what it was.
#[derive(Clone, Debug)]
enum Step {
    On(u64),
    Back(u64),
    Stuck,
    To(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..50_u64).prop_map(Step::On),
        1 => (0..5000_u64).prop_map(Step::Back),
        1 => Just(Step::Stuck),
        1 => prop_oneof![Just(0), Just(MAX_INTEGER), MAX_INTEGER - 50..=MAX_INTEGER, 0..=MAX_INTEGER]
            .prop_map(Step::To),
    ]
}

impl Step {
    /// It wraps where a stamp does.
    fn after(&self, counter: u64) -> u64 {
        match self {
            Self::On(by) => (counter + by) % (MAX_INTEGER + 1),
            Self::Back(by) => counter.saturating_sub(*by),
            Self::Stuck => counter,
            Self::To(value) => *value,
        }
    }
}

/// Mostly small numbers, some absurd.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..100_u64, 1 => 0..=MAX_INTEGER, 1 => Just(MAX_INTEGER)]
}

/// How the clock goes on: as it should, and by jumps in either direction.
#[derive(Clone, Debug)]
enum Jump {
    On(u64),
    Back(u64),
    To(u64),
}

fn jump() -> impl Strategy<Value = Jump> {
    const HOUR: u64 = 3600 * 1_000_000_000;
    prop_oneof![
        20 => (0..500_000_000_u64).prop_map(Jump::On),
        2 => (0..2 * HOUR).prop_map(Jump::On),
        2 => (0..2 * HOUR).prop_map(Jump::Back),
        1 => any::<u64>().prop_map(Jump::To),
    ]
}

impl Jump {
    fn after(&self, now: u64) -> u64 {
        match self {
            Self::On(by) => now.saturating_add(*by),
            Self::Back(by) => now.saturating_sub(*by),
            Self::To(value) => *value,
        }
    }
}

#[derive(Clone, Debug)]
struct Request {
    id: u64,
    vm: u64,
    seq: Step,
    total: Step,
    rest: [u64; 4],
    weight: u64,
    jump: Jump,
    ticks: bool,
}

fn request() -> impl Strategy<Value = Request> {
    let who = (
        prop_oneof![6 => 0..3_u64, 1 => any::<u64>()],
        prop_oneof![6 => 0..3_u64, 1 => any::<u64>()],
    );
    let rest = [number(), number(), number(), number()];
    (who, step(), step(), rest, 0..1000_u64, jump(), any::<bool>()).prop_map(
        |((id, vm), seq, total, rest, weight, jump, ticks)| Request {
            id,
            vm,
            seq,
            total,
            rest,
            weight,
            jump,
            ticks,
        },
    )
}

/// An hour and more of absurd stamps, after some that were as they should be.
fn play(node: &mut Node, requests: &[Request]) -> Result<(), TestCaseError> {
    let (mut now, mut seq, mut total) = (1_000_000_000_000, 0, 0);
    for request in requests {
        let Request { id, vm, rest: [connection, age, open, sample], weight, .. } = request;
        now = request.jump.after(now);
        seq = request.seq.after(seq);
        total = request.total.after(total);
        let at = Timestamp::from_nanos(now);
        let stamp = format!(
            "id=\"edge-{id}\", vm=v{vm}, seq={seq}, total={total}, conn={connection}, age={age}, \
             open={open}, sample={sample}, weight={weight}.001"
        );
        let handled = node.on_request(Some(stamp.as_bytes()), at);
        if request.ticks {
            node.on_tick(at);
        }
        if let Some(handled) = handled
            && let Some(close) = node.on_response(&handled, at)
        {
            let header = close.to_header();
            let read = CloseRequest::parse(header.as_bytes());
            prop_assert!(
                read.is_ok_and(|read| read.connections.len() <= MAX_CONNECTIONS),
                "{header}"
            );
        }
        has_numbers(node)?;
    }
    Ok(())
}

fn has_numbers(node: &Node) -> Result<(), TestCaseError> {
    prop_assert!((PerSecond::ZERO..=PerSecond::MAX).contains(&node.close_rate()));
    prop_assert!(node.load_balancers() <= MAX_LOAD_BALANCERS);
    for seen in node.seen() {
        prop_assert!((PerSecond::ZERO..=PerSecond::MAX).contains(&seen.close_rate), "{seen:?}");
        prop_assert!(seen.deviation.is_finite() && seen.deviation >= 0.0, "{seen:?}");
    }
    let shown = format!("{node:?}");
    prop_assert!(!shown.contains("NaN") && !shown.contains(": inf"), "{shown}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Of what a VM of a load balancer forwards, and of all, no more than all comes here.
    #[test]
    fn shares_stay_within_a_whole(
        shortest in 0..5_000_u64,
        requests in proptest::collection::vec(request(), 1..200),
    ) {
        let (mut now, mut seq, mut total) = (1_000_000_000_000, 0, 0);
        let mut share = None;
        for request in requests {
            now = request.jump.after(now);
            seq = request.seq.after(seq);
            total = request.total.after(total);
            let [connection, age, open, sample] = request.rest;
            let position = Position {
                vm: VmToken::from_random(1),
                seq,
                total,
                connection,
                age: Duration::from_secs(age),
                open,
                sample: sample.max(1),
            };
            let at = Timestamp::from_nanos(now);
            let share = share.get_or_insert_with(|| RequestShare::new(&position, at));
            share.observe(&position, at);
            if let Some(stretch) = share.take_stretch(Duration::from_millis(shortest)) {
                prop_assert!(stretch.own >= 1, "{stretch:?}");
                prop_assert!(stretch.own <= stretch.of_vm, "{stretch:?}");
                prop_assert!(stretch.of_vm <= stretch.of_load_balancer, "{stretch:?}");
                let portion = stretch.portion();
                prop_assert!(portion.of_load_balancer <= portion.of_vm, "{portion:?}");
                // A product of floats may be off by a little.
                prop_assert!(portion.of_vm <= stretch.time.mul_f64(1.0 + 1e-9), "{portion:?}");
            }
        }
    }

    #[test]
    fn rates_are_numbers_and_tables_bounded(
        policy in 0..POLICIES.len(),
        fraction in 0.0..1.0,
        requests in proptest::collection::vec(request(), 1..200),
    ) {
        let config = NodeConfig::parse(POLICIES[policy].as_bytes()).expect("a configuration");
        play(&mut Node::new(config, fraction), &requests)?;
    }
}

/// As in the filter, time is that of the last tick. What was before a jump is forgotten, or counts as
/// the time that the jump seems to have been; closes for an hour that was none are not made up for.
#[test]
fn after_a_clock_that_jumps_closes_go_on_at_their_rate() {
    let config =
        r#"{"close_rate": {"per_second": 5}, "min_connection_age": "0s", "share_window": "1s"}"#;
    for jump in [0, 20, 3_600, 1_000_000] {
        let mut node = Node::new(NodeConfig::parse(config.as_bytes()).unwrap(), 0.5);
        let mut closes = [0, 0];
        for (part, start) in [(0, 10_000), (1, 70_000 + jump * 1000)] {
            let mut now = Timestamp::default();
            for millis in 0..60_000_u64 {
                if millis % 100 == 0 {
                    now = Timestamp::from_nanos((start + millis) * 1_000_000);
                    node.on_tick(now);
                }
                let seq = part as u64 * 60_000 + millis;
                let (connection, age) = (seq % 500, 60 + seq / 1000);
                let stamp =
                    format!("id=\"edge\", vm=a, seq={seq}, conn={connection}, age={age}, open=500");
                let request = node.on_request(Some(stamp.as_bytes()), now).unwrap();
                let close = node.on_response(&request, now);
                closes[part] += close.map_or(0, |close| close.connections.len());
            }
        }
        let most = 300 + 5 * jump.min(30) + 10;
        for closed in closes {
            assert!((280..=most).contains(&(closed as u64)), "{jump} s: {closes:?}");
        }
    }
}

/// A clock that has jumped back stands still for a node until it has caught up: no closes meanwhile, and
/// as many as ever from then on.
#[test]
fn a_clock_that_jumps_back_makes_no_closes() {
    let config =
        r#"{"close_rate": {"per_second": 5}, "min_connection_age": "0s", "share_window": "1s"}"#;
    let mut node = Node::new(NodeConfig::parse(config.as_bytes()).unwrap(), 0.5);
    let mut closes = [0, 0, 0];
    for (part, start) in [(0, 100_000), (1, 90_000), (2, 160_000)] {
        for tick in 0..600_u64 {
            let now = Timestamp::from_nanos((start + tick * 100) * 1_000_000);
            node.on_tick(now);
            for request in 0..100 {
                let seq = (part as u64 * 600 + tick) * 100 + request;
                let connection = seq % 500;
                let stamp =
                    format!("id=\"edge\", vm=a, seq={seq}, conn={connection}, age=600, open=500");
                let request = node.on_request(Some(stamp.as_bytes()), now).unwrap();
                let close = node.on_response(&request, now);
                closes[part] += close.map_or(0, |close| close.connections.len());
            }
        }
    }
    assert!((280..=310).contains(&closes[0]), "{closes:?}");
    assert!(closes[1] <= 20, "{closes:?}");
    assert!((280..=330).contains(&closes[2]), "{closes:?}");
}

#[test]
fn a_hundred_thousand_load_balancers_and_vms_fill_tables_and_no_more() {
    let mut node = Node::new(NodeConfig::parse(POLICIES[2].as_bytes()).unwrap(), 0.5);
    let at = |number: u64| Timestamp::from_nanos(1_000_000_000_000 + number * 10_000);
    for number in 0..100_000_u64 {
        for stamp in [
            format!("id=\"edge-{number}\", pool=\"p{number}\", vm=a, seq=1, conn=1, age=9, open=1"),
            format!("id=\"edge-0\", vm=v{number}, seq=1, conn={number}, age=9, open=1"),
        ] {
            if let Some(request) = node.on_request(Some(stamp.as_bytes()), at(number)) {
                node.on_response(&request, at(number));
            }
        }
    }
    node.on_tick(at(100_000));
    assert_eq!(node.load_balancers(), MAX_LOAD_BALANCERS);
    assert!(node.balances().count() <= MAX_LOAD_BALANCERS);
    let counted = node.counters();
    assert_eq!(counted.requests_stamped + counted.stamps_over_limit, 200_000);
    // All of it is forgotten once it is silent.
    node.on_tick(at(100_000).after(Duration::from_mins(1)));
    node.on_tick(at(100_000).after(Duration::from_mins(2)));
    assert_eq!((node.load_balancers(), node.balances().count()), (0, 0));
}
