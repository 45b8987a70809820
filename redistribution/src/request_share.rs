//! The part of a load balancer's requests that this node handles (design, section 5).
//!
//! Each stamp says how many requests the edge's VM has forwarded so far (`seq`), and how many
//! the whole load balancer has (`total`). From these a node knows the load balancer's request
//! rate `r`, and so what each request it handles is worth: `1/r` of the load balancer's time.
//! A node that handles a quarter of the requests gets a quarter of the time. Nobody is asked,
//! and over all nodes the portions of a second add up to a second, whoever gets how much.
//!
//! This is share times time, taken request by request. The quotient of two counts over a window
//! would give the same on average, but late: when a node goes, the others would go on with the
//! shares they had, and their sum would be short of one for the length of the window.
//!
//! One [`RequestShare`] follows one VM of a load balancer, over a sliding window. Where requests
//! are rare the window reaches back further, up to ten times its length, to hold at least
//! [`ENOUGH`] of them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Timestamp;
use crate::wire::Position;

/// Requests of a VM that make its rate known well enough not to reach back beyond the window.
pub const ENOUGH: u64 = 64;

/// How far a window may reach back for [`ENOUGH`] requests, in windows.
const LONGEST: u32 = 10;

/// Marks kept per window; the oldest one moves in steps of this part of it.
const MARKS_PER_WINDOW: u32 = 8;

/// Nothing is derived from stamps that lie less than this apart. Requests that come before are
/// accounted for after.
const SHORTEST: Duration = Duration::from_secs(1);

/// What this node handles of one VM's, and so of its load balancer's, requests.
#[derive(Clone, Debug)]
pub struct RequestShare {
    window: Duration,
    /// Readings at the starts of the window's steps, oldest first; never empty.
    marks: VecDeque<Reading>,
    last: Reading,
    /// Requests handled that no portion was taken for yet.
    pending: u64,
    /// What portions of the VM's time may still be taken: no node handles more than all.
    allowance: Duration,
    taken_at: Timestamp,
}

/// What the counters read when a stamp came in.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Timestamp,
    seq: u64,
    total: u64,
}

/// What a number of requests is worth: the time in which that many are forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Portion {
    /// By the VM they came from.
    pub of_vm: Duration,
    /// By the load balancer as a whole.
    pub of_load_balancer: Duration,
}

// === impl RequestShare ===

impl RequestShare {
    /// Starts with the first request of a VM.
    #[must_use]
    pub fn new(window: Duration, first: &Position, now: Timestamp) -> Self {
        let reading = Reading { at: now, seq: first.seq, total: first.total };
        Self {
            window,
            marks: VecDeque::from([reading]),
            last: reading,
            pending: 1,
            allowance: window.max(SHORTEST),
            taken_at: now,
        }
    }

    /// Takes in one more request of the same VM.
    ///
    /// Stamps may come a little out of order, as parallel connections deliver them. One from
    /// before the window means that the counter started again, and so does the measurement.
    pub fn observe(&mut self, position: &Position, now: Timestamp) {
        self.pending = self.pending.saturating_add(1);
        if self.marks.front().is_none_or(|base| position.seq < base.seq) {
            self.last = Reading { at: now, seq: position.seq, total: position.total };
            self.marks = VecDeque::from([self.last]);
            return;
        }
        self.last = Reading {
            at: now.max(self.last.at),
            seq: self.last.seq.max(position.seq),
            total: self.last.total.max(position.total),
        };
        let step = self.window / MARKS_PER_WINDOW;
        if self.marks.back().is_none_or(|mark| self.last.at.since(mark.at) >= step) {
            self.marks.push_back(self.last);
        }
        self.forget();
    }

    /// Takes the portion of the requests handled since the last one; nothing while there is too
    /// little to tell.
    pub fn take_portion(&mut self, now: Timestamp) -> Portion {
        let elapsed = now.since(self.taken_at);
        self.taken_at = self.taken_at.max(now);
        // A window's worth lets requests come unevenly.
        self.allowance = self.allowance.saturating_add(elapsed).min(self.window.max(SHORTEST));
        let Some(worth) = self.worth_of_a_request() else {
            return Portion::default();
        };
        let requests = u32::try_from(self.pending).unwrap_or(u32::MAX);
        self.pending = 0;
        let portion = Portion {
            of_vm: worth.of_vm.saturating_mul(requests).min(self.allowance),
            of_load_balancer: worth.of_load_balancer.saturating_mul(requests).min(self.allowance),
        };
        self.allowance = self.allowance.saturating_sub(portion.of_vm);
        portion
    }

    /// When the last stamp came.
    #[must_use]
    pub fn last_seen(&self) -> Timestamp {
        self.last.at
    }

    fn worth_of_a_request(&self) -> Option<Portion> {
        let base = self.marks.front()?;
        let time = self.last.at.since(base.at);
        if time < SHORTEST {
            return None;
        }
        let of_vm = self.last.seq.saturating_sub(base.seq);
        // A load balancer forwards at least what one of its VMs does, whatever its stamps say.
        let of_load_balancer = self.last.total.saturating_sub(base.total).max(of_vm);
        Some(Portion {
            of_vm: divide(time, of_vm)?,
            of_load_balancer: divide(time, of_load_balancer)?,
        })
    }

    /// Drops marks from before the window, but not so many that too few requests are left.
    fn forget(&mut self) {
        while let Some(next) = self.marks.get(1) {
            let age = self.last.at.since(next.at);
            let enough = self.last.seq.saturating_sub(next.seq) >= ENOUGH;
            if age < self.window || (!enough && age < self.window.saturating_mul(LONGEST)) {
                break;
            }
            self.marks.pop_front();
        }
    }
}

fn divide(time: Duration, by: u64) -> Option<Duration> {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    nanos.checked_div(by).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::VmToken;

    const WINDOW: Duration = Duration::from_secs(10);

    fn position(seq: u64, total: u64) -> Position {
        Position {
            vm: VmToken::from_random(1),
            seq,
            total,
            connection: 0,
            age: Duration::ZERO,
            open: 0,
        }
    }

    fn at_ms(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// A node that takes its portions every tenth of a second, on a clock that ticks as often.
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
                None => self.share = Some(RequestShare::new(WINDOW, &position, self.ticked_at)),
                Some(share) => share.observe(&position, self.ticked_at),
            }
        }

        fn tick(&mut self, now: Timestamp) {
            self.ticked_at = now;
            if let Some(share) = &mut self.share {
                let more = share.take_portion(now);
                self.portion.of_vm += more.of_vm;
                self.portion.of_load_balancer += more.of_load_balancer;
            }
        }
    }

    /// Runs a VM at `per_second` for so many seconds, and a node that gets what `gets` says.
    /// The load balancer has a second VM that forwards as many.
    fn run(seconds: u64, per_second: u64, gets: impl Fn(u64) -> bool) -> Node {
        let mut node = Node::new();
        for millis in 0..seconds * 1000 {
            if millis % 100 == 0 {
                node.tick(at_ms(millis));
            }
            for seq in millis * per_second / 1000..(millis + 1) * per_second / 1000 {
                if gets(seq) {
                    node.request(seq, 2 * seq);
                }
            }
        }
        node.tick(at_ms(seconds * 1000));
        node
    }

    fn assert_near(actual: Duration, expected: f64, what: &str) {
        let actual = actual.as_secs_f64();
        assert!((actual / expected - 1.0).abs() <= 0.02, "{what}: {actual}, not {expected}");
    }

    #[test]
    fn a_share_of_the_requests_is_that_share_of_the_time() {
        for (stride, per_second) in [(1, 1000), (4, 1000), (10, 100), (3, 5), (1, 2), (50, 10_000)]
        {
            let node = run(200, per_second, |seq| seq % stride == 0);
            let what = format!("1 of {stride} at {per_second} a second");
            assert_near(node.portion.of_vm, 200.0 / stride as f64, &what);
            assert_near(node.portion.of_load_balancer, 100.0 / stride as f64, &what);
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
    fn so_it_is_where_requests_come_at_random() {
        let node = run(2_000, 100, |seq| is_random_part(seq, 0.05));
        assert_near(node.portion.of_vm, 2_000.0 * 0.05, "5 % at random");
    }

    #[test]
    fn when_one_node_goes_the_others_portions_grow_at_once() {
        // Of four nodes one goes at 60 s; what it got goes to the others in turn.
        let portions: Duration = (0..3)
            .map(|node| {
                run(70, 1000, |seq| {
                    let turn = if seq < 60_000 { seq % 4 } else { seq % 3 };
                    turn == node
                })
            })
            .map(|node| node.portion.of_vm)
            .sum();
        assert_near(portions, 60.0 * 0.75 + 10.0, "three nodes");
    }

    #[test]
    fn a_load_that_doubles_is_made_up_for_within_the_window() {
        let mut node = Node::new();
        let mut seq = 0;
        for millis in 0..200_000_u64 {
            if millis % 100 == 0 {
                node.tick(at_ms(millis));
            }
            for _ in 0..if (50_000..150_000).contains(&millis) { 2 } else { 1 } {
                seq += 1;
                node.request(seq, seq);
            }
        }
        // Up and down leave a trace of less than a tenth of the window each.
        assert_near(node.portion.of_vm, 200.0, "a load that doubles and halves");
    }

    #[test]
    fn a_counter_that_starts_again_starts_the_measurement_again() {
        let mut node = run(30, 1000, |seq| seq % 4 == 0);
        for millis in 30_000..60_000_u64 {
            if millis % 100 == 0 {
                node.tick(at_ms(millis));
            }
            if millis % 4 == 0 {
                node.request(millis - 29_999, 2 * (millis - 29_999));
            }
        }
        assert_near(node.portion.of_vm, 15.0, "over both");
    }

    #[test]
    fn absurd_counters_give_no_more_than_all_of_the_time_and_a_window() {
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
            let most = Duration::from_secs(100) + WINDOW;
            assert!(node.portion.of_vm <= most, "{:?}", node.portion);
            assert!(node.portion.of_load_balancer <= most, "{:?}", node.portion);
        }
    }

    #[test]
    fn a_total_that_does_not_move_is_taken_as_that_of_the_vm_alone() {
        let mut node = Node::new();
        for millis in 0..50_000 {
            if millis % 100 == 0 {
                node.tick(at_ms(millis));
            }
            if millis % 4 == 0 {
                node.request(millis, 7);
            }
        }
        node.tick(at_ms(50_000));
        assert_near(node.portion.of_vm, 12.5, "of the VM");
        assert_eq!(node.portion.of_load_balancer, node.portion.of_vm);
    }

    #[test]
    fn memory_is_bounded_however_rare_the_requests() {
        let node = run(10_000, 1, |_| true);
        let marks = node.share.unwrap().marks.len();
        assert!(marks <= (LONGEST * MARKS_PER_WINDOW) as usize + 2, "{marks}");
    }
}
