//! The part of a load balancer's requests that this node handles (design, section 5).
//!
//! Each stamp says how many requests the edge's VM has forwarded so far (`seq`), and how many
//! the whole load balancer has (`total`). Between two stamps the node counts its own; the
//! quotient is its share. Nobody is asked, and over all nodes the shares add up to one.
//!
//! One [`RequestShare`] follows one VM of a load balancer, over a sliding window.
//!
//! # The estimate
//!
//! With `k` own requests since the oldest stamp of the window, while the counter moved by `m`,
//! the share is `(k - 1/2) / (m - 1/2)`. The plain `k/m` is exact where requests come in strict
//! turn, but too large by `1/k` of itself where they come at random, because the window begins
//! and ends with an own request; `(k-1)/(m-1)` is right for those and too small by `1/k` for
//! turns. Halfway, neither is off by more than `1/2k`, and a node that gets everything still
//! reads exactly 1. Where own requests are rare the window reaches back further, up to ten times
//! its length, to hold at least [`ENOUGH`] of them: the error stays below 1 %.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Timestamp;
use crate::wire::Position;

/// Own requests that make an estimate good enough not to reach back beyond the window.
pub const ENOUGH: u64 = 64;

/// How far a window may reach back for [`ENOUGH`] requests, in windows.
const LONGEST: u32 = 10;

/// A VM is taken to be idle or gone after this many of its usual gaps between stamps. Requests
/// that come at random leave such a gap once in a thousand.
const GAPS_TO_IDLE: u32 = 7;

/// A VM is not taken to be idle before this.
const IDLE_AT_LEAST: Duration = Duration::from_secs(1);

/// Marks kept per window; the oldest one moves in steps of this part of it.
const MARKS_PER_WINDOW: u32 = 8;

/// The share of one VM's, and so of its load balancer's, requests that come to this node.
#[derive(Clone, Debug)]
pub struct RequestShare {
    window: Duration,
    /// Readings at the starts of the window's steps, oldest first; never empty.
    marks: VecDeque<Reading>,
    last: Reading,
}

/// What the counters read when a stamp came in.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Timestamp,
    seq: u64,
    total: u64,
    own: u64,
}

// === impl RequestShare ===

impl RequestShare {
    /// Starts with the first stamp of a VM.
    #[must_use]
    pub fn new(window: Duration, first: &Position, now: Timestamp) -> Self {
        let reading = Reading { at: now, seq: first.seq, total: first.total, own: 0 };
        Self { window, marks: VecDeque::from([reading]), last: reading }
    }

    /// Takes in one more stamp of the same VM.
    ///
    /// Stamps may come a little out of order, as parallel connections deliver them. One from
    /// before the window means that the counter started again, and so does the measurement.
    pub fn observe(&mut self, position: &Position, now: Timestamp) {
        if self.marks.front().is_none_or(|base| position.seq < base.seq) {
            *self = Self::new(self.window, position, now);
            return;
        }
        self.last = Reading {
            at: now.max(self.last.at),
            seq: self.last.seq.max(position.seq),
            total: self.last.total.max(position.total),
            own: self.last.own.saturating_add(1),
        };
        let step = self.window / MARKS_PER_WINDOW;
        if self.marks.back().is_none_or(|mark| self.last.at.since(mark.at) >= step) {
            self.marks.push_back(self.last);
        }
        self.forget(now);
    }

    /// The share of the VM's requests, from 0 to 1; `None` before there is anything to compare.
    #[must_use]
    pub fn of_vm(&self) -> Option<f64> {
        let base = self.marks.front()?;
        estimate(self.last.own - base.own, self.last.seq.saturating_sub(base.seq))
    }

    /// The share of the whole load balancer's requests that comes through this VM to this node,
    /// from 0 to 1; `None` before there is anything to compare.
    #[must_use]
    pub fn of_load_balancer(&self) -> Option<f64> {
        let base = self.marks.front()?;
        estimate(self.last.own - base.own, self.last.total.saturating_sub(base.total))
    }

    /// When the last stamp came.
    #[must_use]
    pub fn last_seen(&self) -> Timestamp {
        self.last.at
    }

    /// Whether stamps still come about as often as they did. Those of a VM that is gone (an edge
    /// restarted, its new VMs count anew) must not go on counting beside them.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        let silence = now.since(self.last.at);
        let Some(base) = self.marks.front() else { return false };
        let own = u32::try_from(self.last.own - base.own).unwrap_or(u32::MAX).max(1);
        let gap = self.last.at.since(base.at) / own;
        silence <= IDLE_AT_LEAST.max(gap.saturating_mul(GAPS_TO_IDLE))
    }

    /// Drops marks from before the window, but not so many that too few requests are left.
    fn forget(&mut self, now: Timestamp) {
        while let Some(next) = self.marks.get(1) {
            let age = now.since(next.at);
            let enough = self.last.own - next.own >= ENOUGH;
            if age < self.window || (!enough && age < self.window * LONGEST) {
                break;
            }
            self.marks.pop_front();
        }
    }
}

fn estimate(own: u64, moved: u64) -> Option<f64> {
    if own == 0 || moved == 0 {
        return None;
    }
    Some(((own as f64 - 0.5) / (moved as f64 - 0.5)).clamp(0.0, 1.0))
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

    /// Feeds every `stride`-th of `count` requests, `per_second` of them in all.
    fn share_of_every(stride: u64, count: u64, per_second: u64) -> RequestShare {
        let at = |seq: u64| Timestamp::from_nanos(seq * 1_000_000_000 / per_second);
        let mut share = RequestShare::new(WINDOW, &position(0, 0), at(0));
        for seq in (stride..=count).step_by(usize::try_from(stride).unwrap()) {
            share.observe(&position(seq, 2 * seq), at(seq));
        }
        share
    }

    fn close(actual: Option<f64>, expected: f64, relative: f64) -> bool {
        actual.is_some_and(|actual| (actual / expected - 1.0).abs() <= relative)
    }

    #[test]
    fn requests_in_turn_give_the_share_to_within_a_percent() {
        for (stride, per_second) in [(1, 1000), (4, 1000), (10, 100), (3, 5), (100, 10_000)] {
            let share = share_of_every(stride, 200 * per_second, per_second);
            let expected = 1.0 / stride as f64;
            assert!(close(share.of_vm(), expected, 0.01), "{stride} at {per_second}: {share:?}");
            assert!(close(share.of_load_balancer(), expected / 2.0, 0.01), "{share:?}");
        }
    }

    #[test]
    fn random_requests_give_the_share_without_bias() {
        // A fixed linear congruential generator: the same requests in every run.
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as f64 / f64::from(1_u32 << 31)
        };
        let (mut sum, mut shares) = (0.0, 0.0);
        for _ in 0..400 {
            let mut share = None::<RequestShare>;
            for seq in 0..2_000 {
                if next() < 0.05 {
                    let at = Timestamp::from_nanos(seq * 10_000_000);
                    match &mut share {
                        None => share = Some(RequestShare::new(WINDOW, &position(seq, seq), at)),
                        Some(share) => share.observe(&position(seq, seq), at),
                    }
                }
            }
            sum += share.and_then(|share| share.of_vm()).unwrap();
            shares += 1.0;
        }
        assert!((sum / shares / 0.05 - 1.0).abs() < 0.02, "{}", sum / shares);
    }

    #[test]
    fn a_node_that_gets_everything_has_the_whole_share() {
        assert_eq!(share_of_every(1, 10, 1).of_vm(), Some(1.0));
    }

    #[test]
    fn the_window_slides() {
        let mut share = share_of_every(2, 10_000, 1_000);
        for seq in 10_000..40_000 {
            let at = Timestamp::from_nanos(seq * 1_000_000);
            if seq % 10 == 0 {
                share.observe(&position(seq, seq), at);
            }
        }
        assert!(close(share.of_vm(), 0.1, 0.01), "{share:?}");
        assert!(share.marks.len() <= 2 * MARKS_PER_WINDOW as usize);
    }

    #[test]
    fn a_counter_that_starts_again_starts_the_measurement_again() {
        let mut share = share_of_every(4, 40_000, 1_000);
        share.observe(&position(1, 1), Timestamp::from_nanos(41_000_000_000));
        assert_eq!(share.of_vm(), None);
        share.observe(&position(3, 3), Timestamp::from_nanos(41_100_000_000));
        assert!(close(share.of_vm(), 0.5 / 1.5, 0.01), "{share:?}");
    }

    #[test]
    fn stamps_out_of_order_and_absurd_ones_keep_the_share_between_0_and_1() {
        let mut share = share_of_every(4, 40_000, 1_000);
        let at = Timestamp::from_nanos(40_000_000_000);
        for seq in [39_999, 40_003, 40_001, u64::MAX, 39_990, u64::MAX] {
            share.observe(&position(seq, seq), at);
            let value = share.of_vm().unwrap();
            assert!((0.0..=1.0).contains(&value), "{value}");
        }
    }

    #[test]
    fn a_vm_that_falls_silent_is_no_longer_live() {
        let share = share_of_every(4, 4_000, 1_000);
        let at = |millis: u64| Timestamp::from_nanos(millis * 1_000_000);
        assert!(share.is_live(at(4_900)));
        assert!(!share.is_live(at(5_100)));
        let slow = share_of_every(1, 10, 1);
        assert!(slow.is_live(at(16_000)));
        assert!(!slow.is_live(at(18_000)));
    }

    #[test]
    fn memory_is_bounded_however_rare_the_requests() {
        let share = share_of_every(1, 100_000, 1);
        assert!(share.marks.len() <= (LONGEST * MARKS_PER_WINDOW) as usize + 2);
    }
}
