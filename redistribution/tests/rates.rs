//! Shares, rates and budgets, whatever the counters and the clock say: no panic, nothing that is
//! no number, and never more than there is to give.
#![cfg(not(target_family = "wasm"))]

use std::time::Duration;

use proptest::prelude::*;
use redistribution::close_budget::CloseBudget;
use redistribution::close_rate::{Demand, PerSecond, Share, VmTraffic};
use redistribution::config::NodeConfig;
use redistribution::node::Node;
use redistribution::pacer::Pacer;
use redistribution::request_share::{Portion, RequestShare};
use redistribution::wire::{CloseRequest, MAX_CONNECTIONS, Position};
use redistribution::{Timestamp, VmToken};

/// Moments in any order: some seconds apart as they are, and absurd ones.
fn moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (0..100_000_000_000_u64).prop_map(Timestamp::from_nanos),
        1 => any::<u64>().prop_map(Timestamp::from_nanos),
        1 => Just(Timestamp::from_nanos(u64::MAX)),
    ]
}

fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..1000_u64, 1 => any::<u64>(), 1 => u64::MAX - 3..=u64::MAX]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => (0..100_000_u64).prop_map(Duration::from_millis),
        1 => any::<Duration>(),
        1 => Just(Duration::ZERO),
        1 => Just(Duration::MAX),
    ]
}

fn rate() -> impl Strategy<Value = PerSecond> {
    prop_oneof![
        Just(0.0),
        0.0..10_000.0,
        0.0..=PerSecond::MAX.get(),
        Just(PerSecond::MAX.get()),
        Just(f64::MIN_POSITIVE),
    ]
    .prop_map(|rate| PerSecond::new(rate).expect("a rate in range"))
}

fn position() -> impl Strategy<Value = Position> {
    (0..3_u64, counter(), counter(), 0..50_u64, duration(), counter()).prop_map(
        |(vm, seq, total, connection, age, open)| Position {
            vm: VmToken::from_random(vm),
            seq,
            total,
            connection,
            age,
            open,
            sample: 1,
        },
    )
}

/// Keeps account of how far a clock got that may jump back.
struct Clock {
    start: Timestamp,
    latest: Timestamp,
}

impl Clock {
    fn new(start: Timestamp) -> Self {
        Self { start, latest: start }
    }

    fn reads(&mut self, now: Timestamp) -> Duration {
        self.latest = self.latest.max(now);
        self.latest.since(self.start)
    }
}

#[derive(Clone, Debug)]
enum Event {
    Request(Position),
    Take,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![4 => position().prop_map(Event::Request), 1 => Just(Event::Take)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// However a load balancer's VM counts, a node gets no more than all of its time.
    #[test]
    fn portions_add_up_to_no_more_than_the_time(
        shortest in duration(),
        first in position(),
        start in moment(),
        events in proptest::collection::vec((event(), moment()), 0..100),
    ) {
        let mut share = RequestShare::new(&first, start);
        let mut clock = Clock::new(start);
        let mut taken = Portion::default();
        for (event, now) in events {
            let elapsed = clock.reads(now);
            match event {
                Event::Request(position) => share.observe(&position, now),
                Event::Take => {
                    let portion = share.take_stretch(shortest).map(|stretch| stretch.portion());
                    let Portion { of_vm, of_load_balancer } = portion.unwrap_or_default();
                    taken.of_vm = taken.of_vm.saturating_add(of_vm);
                    taken.of_load_balancer =
                        taken.of_load_balancer.saturating_add(of_load_balancer);
                }
            }
            // Products of floats may be off by a little.
            let most = elapsed.mul_f64(1.0 + 1e-9);
            prop_assert!(taken.of_vm <= most, "{:?} of {:?}", taken, most);
            prop_assert!(taken.of_load_balancer <= taken.of_vm, "{:?} of {:?}", taken, most);
        }
    }

    #[test]
    fn closes_owed_are_a_number(
        rate in prop_oneof![
            rate().prop_map(Demand::Rate),
            duration().prop_map(Demand::renewal),
        ],
        share in prop_oneof![
            Just(Share::Measured),
            any::<u32>().prop_map(|vms| Share::Fixed { vms }),
        ],
        elapsed in duration(),
        vms in proptest::collection::vec((duration(), duration(), counter()), 0..5),
    ) {
        let vms = vms.into_iter().map(|(of_vm, of_load_balancer, open)| {
            VmTraffic { portion: Portion { of_vm, of_load_balancer }, open }
        });
        let owed = rate.closes_owed(share, elapsed, vms);
        prop_assert!(owed.is_finite() && owed >= 0.0, "{}", owed);
    }

    /// No more closes are due than were earned, and what lapsed is part of that.
    #[test]
    fn a_pacer_gives_no_more_than_was_earned(
        fraction in proptest::num::f64::ANY,
        start in moment(),
        steps in proptest::collection::vec(
            (0.0..100.0, 0..20_usize, moment(), duration()),
            0..100,
        ),
    ) {
        let mut pacer = Pacer::new(fraction, start);
        let (mut earned, mut gone) = (1.0, 0.0);
        for (closes, asks, now, over) in steps {
            pacer.earn(closes, over, now);
            earned += closes;
            let spent = pacer.due().min(asks);
            pacer.spend(spent);
            gone += spent as f64 + pacer.take_lapsed() as f64;
            prop_assert!(gone + pacer.due() as f64 <= earned + 1e-6, "{:?}", pacer);
            prop_assert!(pacer.rate() <= PerSecond::MAX);
        }
    }

    #[test]
    fn a_pacer_stays_with_numbers(
        fraction in proptest::num::f64::ANY,
        start in moment(),
        steps in proptest::collection::vec(
            (prop_oneof![0.0..100.0, Just(1e25), Just(0.0)], any::<usize>(), moment(), duration()),
            0..50,
        ),
    ) {
        let mut pacer = Pacer::new(fraction, start);
        for (closes, spent, now, over) in steps {
            pacer.earn(closes, over, now);
            pacer.take_lapsed();
            let shown = format!("{pacer:?}");
            prop_assert!(!shown.contains("NaN") && !shown.contains("inf"), "{}", shown);
            pacer.spend(spent);
        }
    }

    /// Over any time at all, no more closes are granted than the limit makes of it.
    #[test]
    fn a_budget_never_gives_more_than_the_limit(
        limit in prop_oneof![0.0..1000.0, Just(0.0)],
        start in moment(),
        asks in proptest::collection::vec(moment(), 0..200),
    ) {
        let limit = PerSecond::new(limit).unwrap();
        let mut budget = CloseBudget::full(limit, start);
        let mut clock = Clock::new(start);
        let mut granted = 0.0;
        for now in asks {
            let elapsed = clock.reads(now);
            if let Some(left) = budget.take(limit, now) {
                granted += 1.0;
                // It goes through shared data, which takes finite ones only.
                budget = CloseBudget::from_bytes(&left.to_bytes()).expect("a budget");
                prop_assert_eq!(budget, left);
            }
            let burst = limit.over(Duration::from_millis(100)).max(1.0);
            prop_assert!(granted <= (burst + limit.over(elapsed)) * (1.0 + 1e-9));
        }
    }

    #[test]
    fn a_budget_read_from_any_bytes_stays_a_number(
        bytes in any::<[u8; 16]>(),
        limits in proptest::collection::vec((rate(), moment()), 0..20),
    ) {
        let mut budget = CloseBudget::from_bytes(&bytes);
        for (limit, now) in limits {
            budget = budget.and_then(|budget| budget.take(limit, now));
            if let Some(budget) = budget {
                prop_assert_eq!(CloseBudget::from_bytes(&budget.to_bytes()), Some(budget));
            }
        }
    }

    /// A node that is stamped by anybody, at any time, asks only for what can be read.
    #[test]
    fn a_node_asks_for_what_it_was_told_of(
        config in prop_oneof![
            Just(r#"{"close_rate": {"per_second": 10000}, "min_connection_age": "0s"}"#),
            Just(r#"{"close_rate": {"mean_connection_age": "1s"}, "share_window": "1s"}"#),
            Just(r#"{"share": {"nodes": 1}, "mode": "observe", "share_window": "1s"}"#),
            Just(r#"{"share": {"nodes": 1}, "close_rate": {"per_second": 10000}}"#),
        ],
        fraction in proptest::num::f64::ANY,
        requests in proptest::collection::vec((position(), moment(), any::<bool>()), 0..200),
    ) {
        let mut node = Node::new(NodeConfig::parse(config.as_bytes()).unwrap(), fraction);
        let mut named = 0;
        for (position, now, tick) in requests {
            if tick {
                node.on_tick(now);
            }
            let Position { vm, seq, total, connection, age, open, .. } = position;
            let age = age.as_secs();
            let header = format!(
                "id=\"e\", vm={vm}, seq={seq}, total={total}, conn={connection}, age={age}, open={open}"
            );
            let request = node.on_request(Some(header.as_bytes()), now);
            if let Some(request) = request
                && let Some(close) = node.on_response(&request, now)
            {
                let header = close.to_header();
                let close = CloseRequest::parse(header.as_bytes()).unwrap();
                prop_assert_eq!(&*close.lb, "e");
                prop_assert!(close.connections.len() <= MAX_CONNECTIONS);
                named += close.connections.len() as u64;
            }
            prop_assert!(node.close_rate() <= PerSecond::MAX);
        }
        prop_assert_eq!(node.counters().closes_requested, named);
    }
}
