//! Spends a close rate: says how many closes are due.
//!
//! Credit grows by rate times time. It starts at a random fraction, so that nodes which start
//! together do not act in step, and it is capped, so that a time without responses to put close
//! requests on does not become a burst. What is lost at the cap is counted.

use std::time::Duration;

use crate::Timestamp;
use crate::close_rate::PerSecond;

/// Credit kept at most, as time at the current rate; never less than one close.
///
/// Long enough that jitter in the arrival of responses loses nothing.
pub const LONGEST_SAVING: Duration = Duration::from_secs(5);

/// The closes that are due for one load balancer.
#[derive(Clone, Debug)]
pub struct Pacer {
    credit: f64,
    lapsed: f64,
    accrued_at: Timestamp,
}

// === impl Pacer ===

impl Pacer {
    /// Starts at `now` with a credit of `fraction`, a random number from 0 to 1.
    #[must_use]
    pub fn new(fraction: f64, now: Timestamp) -> Self {
        Self { credit: fraction.clamp(0.0, 1.0), lapsed: 0.0, accrued_at: now }
    }

    /// Adds the credit of the time since the last call, at `rate`.
    pub fn accrue(&mut self, rate: PerSecond, now: Timestamp) {
        let cap = 1.0 + rate.over(LONGEST_SAVING);
        let credit = self.credit + rate.over(now.since(self.accrued_at));
        self.accrued_at = self.accrued_at.max(now);
        // Credit saved at a higher rate is kept, but grows no further.
        let kept = credit.min(cap.max(self.credit));
        self.lapsed += credit - kept;
        self.credit = kept;
    }

    /// Closes that are due now.
    #[must_use]
    pub fn due(&self) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative, and saturates"
        )]
        let due = self.credit.floor() as usize;
        due
    }

    /// Takes `closes` off the credit.
    pub fn spend(&mut self, closes: usize) {
        self.credit = (self.credit - closes as f64).max(0.0);
    }

    /// Takes whole closes that lapsed at the cap since the last call: they could not be asked
    /// for, because responses were too rare or connections not eligible.
    pub fn take_lapsed(&mut self) -> u64 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "never negative, and saturates"
        )]
        let whole = self.lapsed.floor() as u64;
        self.lapsed -= self.lapsed.floor();
        whole
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn at_ms(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn rate(rate: f64) -> PerSecond {
        PerSecond::new(rate).unwrap()
    }

    #[test]
    fn the_rate_is_spent_exactly_over_time() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        let mut closes = 0;
        for millis in (0..=100_000).step_by(125) {
            pacer.accrue(rate(7.5), at_ms(millis));
            closes += pacer.due();
            pacer.spend(pacer.due());
        }
        assert_eq!(closes, 750);
        assert_eq!(pacer.take_lapsed(), 0);
    }

    #[test]
    fn the_start_is_a_fraction_of_a_close() {
        let mut early = Pacer::new(0.9, at_ms(0));
        let mut late = Pacer::new(0.1, at_ms(0));
        for pacer in [&mut early, &mut late] {
            pacer.accrue(rate(1.0), at_ms(500));
        }
        assert_eq!((early.due(), late.due()), (1, 0));
    }

    #[test]
    fn an_idle_hour_is_no_burst_and_what_lapsed_is_counted() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        pacer.accrue(rate(2.0), at_ms(3_600_000));
        assert_eq!(pacer.due(), 11);
        assert_eq!(pacer.take_lapsed(), 7_189);
        assert_eq!(pacer.take_lapsed(), 0);
    }

    #[test]
    fn a_slow_rate_still_saves_for_one_close() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        pacer.accrue(rate(0.001), at_ms(1_000_000));
        assert_eq!(pacer.due(), 1);
    }

    #[test]
    fn a_falling_rate_keeps_what_was_saved_and_time_does_not_run_back() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        pacer.accrue(rate(10.0), at_ms(1_000));
        pacer.accrue(rate(0.0), at_ms(2_000));
        pacer.accrue(rate(10.0), at_ms(1_500));
        assert_eq!(pacer.due(), 10);
    }
}
