//! The part of a load balancer's requests that this node handles (design, section 5).
//!
//! Each stamp says how many requests the edge's VM has forwarded so far (`seq`), and how many
//! the whole load balancer has (`total`). Over a stretch of time the node counts its own; the
//! quotient is its share of that stretch. Nobody is asked, and over all nodes the shares add up
//! to one.
//!
//! The share is not taken as a property of the node, to be applied to the time that follows: it
//! is applied to the very stretch it was measured over. A node that handled a quarter of the
//! requests of the last two seconds gets a quarter of these two seconds, as its [`Portion`], and
//! portions add up to all of the time whatever happens: when loads rise and fall, and when nodes
//! come and go. With a share measured over a longer window, the sum is off for as long as the
//! window looks back on how things were.
//!
//! Stretches begin and end with an own request. So they tile the time, however rare these are,
//! and a portion is right on average also for a handful of requests: it is their number times
//! the mean time from one request of the load balancer to the next.
//!
//! One [`RequestShare`] follows one VM of a load balancer.

use std::time::Duration;

use crate::Timestamp;
use crate::wire::Position;

/// Parallel connections deliver stamps a little out of order. One that is further back than this
/// means that the counter started again.
const LATE: u64 = 1000;

/// What this node handles of one VM's, and so of its load balancer's, requests.
#[derive(Clone, Debug)]
pub struct RequestShare {
    /// Where the stretch began.
    base: Reading,
    last: Reading,
    /// Own requests since.
    own: u64,
}

/// What the counters read when a stamp came in.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Timestamp,
    seq: u64,
    total: u64,
}

/// A stretch of time, and the requests of it. No count is 0, and each is at least the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// How long it was.
    pub time: Duration,
    /// Requests handled here.
    pub own: u64,
    /// Requests that the VM forwarded.
    pub of_vm: u64,
    /// Requests that the load balancer forwarded.
    pub of_load_balancer: u64,
}

/// A share of a stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// By the share of the VM's requests.
    pub of_vm: Duration,
    /// By the share of the load balancer's requests; never more than `of_vm`.
    pub of_load_balancer: Duration,
}

// === impl RequestShare ===

impl RequestShare {
    /// Starts with a request of the VM.
    #[must_use]
    pub fn new(first: &Position, now: Timestamp) -> Self {
        let reading = Reading { at: now, seq: first.seq, total: first.total };
        Self { base: reading, last: reading, own: 0 }
    }

    /// Takes in one more request of the same VM.
    pub fn observe(&mut self, position: &Position, now: Timestamp) {
        if position.seq.saturating_add(LATE) < self.base.seq {
            *self = Self::new(position, now.max(self.last.at));
            return;
        }
        self.own = self.own.saturating_add(position.sample);
        self.last = Reading {
            at: now.max(self.last.at),
            seq: self.last.seq.max(position.seq),
            total: self.last.total.max(position.total),
        };
    }

    /// Ends the stretch with the last request and gives what it was; nothing while it is shorter
    /// than `shortest`.
    pub fn take_stretch(&mut self, shortest: Duration) -> Option<Stretch> {
        let time = self.last.at.since(self.base.at);
        if time.is_zero() || time < shortest || self.own == 0 {
            return None;
        }
        // Whatever the stamps say: what came here the VM has forwarded, and what the VM has
        // forwarded its load balancer has.
        let of_vm = self.last.seq.saturating_sub(self.base.seq).max(self.own);
        let of_load_balancer = self.last.total.saturating_sub(self.base.total).max(of_vm);
        let stretch = Stretch { time, own: self.own, of_vm, of_load_balancer };
        self.base = self.last;
        self.own = 0;
        Some(stretch)
    }

    /// Requests of the load balancer as of the last stamp.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.last.total
    }

    /// When the last stamp came.
    #[must_use]
    pub fn last_seen(&self) -> Timestamp {
        self.last.at
    }
}

// === impl Stretch ===

impl Stretch {
    /// This node's portion of it.
    #[must_use]
    pub fn portion(&self) -> Portion {
        Portion {
            of_vm: self.time.mul_f64(self.own as f64 / self.of_vm as f64),
            of_load_balancer: self.time.mul_f64(self.own as f64 / self.of_load_balancer as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::VmToken;

    const STRETCH: Duration = Duration::from_secs(1);

    fn position(seq: u64, total: u64) -> Position {
        Position {
            vm: VmToken::from_random(1),
            seq,
            total,
            connection: 0,
            age: Duration::ZERO,
            open: 0,
            sample: 1,
        }
    }

    fn at_ms(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// A node on a clock that ticks every tenth of a second.
    struct Node {
        share: Option<RequestShare>,
        portion: Portion,
        ticked_at: Timestamp,
    }

    impl Node {
        fn new() -> Self {
            Self { share: None, portion: Portion::default(), ticked_at: at_ms(0) }
        }

        fn request(&mut self, seq: u64, total: u64) {
            let position = position(seq, total);
            match &mut self.share {
                None => self.share = Some(RequestShare::new(&position, self.ticked_at)),
                Some(share) => share.observe(&position, self.ticked_at),
            }
        }

        fn tick(&mut self, now: Timestamp) {
            self.ticked_at = now;
            if let Some(share) = &mut self.share {
                let more = share.take_stretch(STRETCH).map(|stretch| stretch.portion());
                let more = more.unwrap_or_default();
                self.portion.of_vm += more.of_vm;
                self.portion.of_load_balancer += more.of_load_balancer;
            }
        }
    }

    /// Runs a VM for so many seconds at the rate that `per_second` gives for each of them, and a
    /// node that gets the requests that `gets` says. The load balancer's second VM forwards as
    /// many, and tells so only once in each tick.
    fn run(
        seconds: u64,
        per_second: impl Fn(u64) -> u64,
        gets: impl Fn(u64, u64) -> bool,
    ) -> Portion {
        let mut node = Node::new();
        let (mut seq, mut owed, mut other) = (0, 0, 0);
        for millis in 0..seconds * 1000 {
            if millis % 100 == 0 {
                node.tick(at_ms(millis));
                other = seq;
            }
            owed += per_second(millis / 1000);
            while owed >= 1000 {
                owed -= 1000;
                seq += 1;
                if gets(seq, millis) {
                    node.request(seq, seq + other);
                }
            }
        }
        node.tick(at_ms(seconds * 1000));
        node.portion
    }

    /// What the last stretch has earned is still to be taken when a run ends.
    const LAST_STRETCH: f64 = 1.2;

    /// Checks the portion of a share of `time` seconds, but for that of the last stretch.
    #[track_caller]
    fn assert_near(actual: Duration, time: f64, share: f64) {
        let actual = actual.as_secs_f64();
        let range = (time - LAST_STRETCH) * share * 0.99..=time * share * 1.01;
        assert!(range.contains(&actual), "{actual}, not {range:?}");
    }

    #[test]
    fn a_share_of_the_requests_is_that_share_of_the_time() {
        for (stride, rate) in [(1, 1000), (4, 1000), (10, 100), (3, 5), (1, 2), (50, 10_000)] {
            let portion = run(400, |_| rate, |seq, _| seq % stride == 0);
            assert_near(portion.of_vm, 400.0, 1.0 / stride as f64);
            assert_near(portion.of_load_balancer, 400.0, 0.5 / stride as f64);
        }
    }

    /// A fixed generator: the same requests in every run.
    fn is_random_part(seq: u64, part: f64) -> bool {
        let mut x = seq.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) as f64 / u64::MAX as f64) < part
    }

    #[test]
    fn so_it_is_where_requests_come_at_random_and_rarely() {
        // A request in four seconds: most stretches are of one.
        let portion = run(100_000, |_| 5, |seq, _| is_random_part(seq, 0.05));
        assert_near(portion.of_vm, 100_000.0, 0.05);
        assert_near(portion.of_load_balancer, 100_000.0, 0.025);
    }

    #[test]
    fn when_a_node_goes_the_portions_of_the_others_grow_at_once() {
        // Of four nodes one goes at 60 s; what it got goes to the others in turn.
        let portions: Duration = (0..3)
            .map(|node| {
                let gets = |seq, millis| seq % (if millis < 60_000 { 4 } else { 3 }) == node;
                run(64, |_| 1000, gets).of_vm
            })
            .sum();
        let all = 60.0 * 0.75 + 4.0;
        assert_near(portions, all, 1.0);
    }

    #[test]
    fn loads_that_rise_and_fall_make_no_difference() {
        let growing = |second| 100 + 40 * second;
        assert_near(run(60, growing, |seq, _| seq % 4 == 0).of_vm, 60.0, 0.25);
        let bursts = |second| if second % 7 < 2 { 2_000 } else { 50 };
        assert_near(run(210, bursts, |seq, _| seq % 4 == 0).of_vm, 210.0, 0.25);
    }

    #[test]
    fn a_counter_that_starts_again_starts_the_stretch_again() {
        let mut node = Node::new();
        for millis in 0..60_000 {
            if millis % 100 == 0 {
                node.tick(at_ms(millis));
            }
            if millis % 4 == 0 {
                let seq = if millis < 30_000 { millis } else { millis - 29_999 };
                node.request(seq, seq);
            }
        }
        // What the last stretch before it had earned is lost.
        assert_near(node.portion.of_vm, 60.0 - LAST_STRETCH, 0.25);
    }

    #[test]
    fn stamps_a_little_out_of_order_make_no_difference() {
        let mut node = Node::new();
        for millis in 0..60_000_u64 {
            if millis % 100 == 0 {
                node.tick(at_ms(millis));
            }
            // Pairs the wrong way round, of every other request.
            node.request(2 * (millis ^ 1), 2 * (millis ^ 1));
        }
        assert_near(node.portion.of_vm, 60.0, 0.5);
    }

    #[test]
    fn absurd_counters_give_no_more_than_all_of_the_time() {
        for seqs in [vec![7; 1000], vec![0, u64::MAX], vec![u64::MAX, 0], (0..500).rev().collect()]
        {
            let mut node = Node::new();
            for millis in 0..100_000_u64 {
                if millis % 100 == 0 {
                    node.tick(at_ms(millis));
                }
                let seq = seqs[usize::try_from(millis).unwrap() % seqs.len()];
                node.request(seq, seq);
            }
            assert!(node.portion.of_vm <= Duration::from_secs(100), "{:?}", node.portion);
        }
    }

    #[test]
    fn a_total_that_does_not_move_is_taken_as_that_of_the_vm_alone() {
        let mut share = RequestShare::new(&position(0, 7), at_ms(0));
        for request in 1..=10 {
            share.observe(&position(4 * request, 7), at_ms(500 * request));
        }
        let portion = share.take_stretch(STRETCH).unwrap().portion();
        assert_eq!(portion.of_vm, Duration::from_millis(1250));
        assert_eq!(portion.of_load_balancer, portion.of_vm);
    }
}
