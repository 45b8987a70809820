//! Spends a close rate: says how many closes are due.
//!
//! Credit grows by what requests earn. It starts at a random fraction, so that nodes which start
//! together do not act in step, and it is capped, so that a time in which no response could carry
//! a close request does not become a burst. What is lost at the cap is counted.

use std::time::Duration;

use crate::Timestamp;
use crate::close_rate::PerSecond;

/// Credit kept at most, as time at the present rate; never less than one close.
///
/// Long enough that jitter in the arrival of responses loses nothing.
pub const LONGEST_SAVING: Duration = Duration::from_secs(5);

/// Time over which the rate is smoothed that is shown, and that the cap goes by.
pub const SMOOTHING: Duration = Duration::from_secs(5);

/// The closes that are due for one load balancer.
#[derive(Clone, Debug)]
pub struct Pacer {
    credit: f64,
    lapsed: f64,
    rate: f64,
    earned_at: Timestamp,
}

// === impl Pacer ===

impl Pacer {
    /// Starts at `now` with a credit of `fraction`, a random number from 0 to 1.
    #[must_use]
    pub fn new(fraction: f64, now: Timestamp) -> Self {
        // A clamp would let through what is no number at all.
        let credit = if (0.0..=1.0).contains(&fraction) { fraction } else { 0.0 };
        Self { credit, lapsed: 0.0, rate: 0.0, earned_at: now }
    }

    /// Adds the closes earned since the last call.
    pub fn earn(&mut self, closes: f64, now: Timestamp) {
        let elapsed = now.since(self.earned_at).as_secs_f64();
        if elapsed <= 0.0 {
            // No time has passed that a rate could be told for: nothing is lost at the cap.
            self.credit += closes;
            return;
        }
        self.earned_at = now;
        let latest = closes / elapsed;
        self.rate += (latest - self.rate) * -f64::exp_m1(-elapsed / SMOOTHING.as_secs_f64());
        // The latest rate counts too: the first requests of a load balancer earn for all the time
        // in which there was too little to tell.
        let cap = 1.0 + self.rate.max(latest) * LONGEST_SAVING.as_secs_f64();
        let credit = self.credit + closes;
        // Credit saved at a higher rate is kept, but grows no further.
        let kept = credit.min(cap.max(self.credit));
        self.lapsed += credit - kept;
        self.credit = kept;
    }

    /// The rate at which closes were earned lately, smoothed over [`SMOOTHING`].
    #[must_use]
    pub fn rate(&self) -> PerSecond {
        PerSecond::new(self.rate).unwrap_or_default()
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

    #[test]
    fn a_start_that_is_no_fraction_is_none() {
        for fraction in [f64::NAN, -1.0, 7.0] {
            let mut pacer = Pacer::new(fraction, at_ms(0));
            pacer.earn(0.9, at_ms(900));
            assert_eq!(pacer.due(), 0, "{fraction}");
        }
    }

    #[test]
    fn what_is_earned_is_spent_and_no_more() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        let mut closes = 0;
        for millis in (125..=100_000).step_by(125) {
            pacer.earn(7.5 / 8.0, at_ms(millis));
            closes += pacer.due();
            pacer.spend(pacer.due());
        }
        assert_eq!(closes, 750);
        assert_eq!(pacer.take_lapsed(), 0);
        assert!((pacer.rate().get() - 7.5).abs() < 1e-6, "{:?}", pacer.rate());
    }

    #[test]
    fn the_start_is_a_fraction_of_a_close() {
        let mut early = Pacer::new(0.9, at_ms(0));
        let mut late = Pacer::new(0.1, at_ms(0));
        for pacer in [&mut early, &mut late] {
            pacer.earn(0.5, at_ms(500));
        }
        assert_eq!((early.due(), late.due()), (1, 0));
    }

    #[test]
    fn what_could_not_be_spent_is_no_burst_and_is_counted() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        for second in 1..=3_600 {
            pacer.earn(2.0, at_ms(second * 1_000));
        }
        assert_eq!(pacer.due(), 11);
        assert_eq!(pacer.take_lapsed(), 7_189);
        assert_eq!(pacer.take_lapsed(), 0);
    }

    #[test]
    fn a_slow_rate_still_saves_for_one_close() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        for second in 1..=1_001 {
            pacer.earn(0.001, at_ms(second * 1_000));
        }
        assert_eq!(pacer.due(), 1);
        assert_eq!(pacer.take_lapsed(), 0);
    }

    #[test]
    fn the_backlog_of_a_start_is_kept_and_time_does_not_run_back() {
        let mut pacer = Pacer::new(0.0, at_ms(1_000));
        pacer.earn(0.0, at_ms(1_900));
        pacer.earn(10.0, at_ms(2_000));
        pacer.earn(1.0, at_ms(500));
        assert_eq!(pacer.due(), 11);
        assert_eq!(pacer.take_lapsed(), 0);
    }
}
