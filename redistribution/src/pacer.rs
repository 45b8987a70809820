//! Spends a close rate: says how many closes are due.
//!
//! What requests have earned comes in lumps, a stretch of time at once, and flows into the credit
//! evenly over the stretch that follows. Credit starts at a random fraction, so that nodes which start
//! together do not act in step, and it is capped, so that a time in which no response could carry
//! a close request does not become a burst. What is lost at the cap is counted.

use std::time::Duration;

use crate::Timestamp;
use crate::close_rate::PerSecond;

/// Credit kept at most, as time at the present rate; and two closes more.
///
/// Long enough that jitter in the arrival of responses loses nothing.
pub const LONGEST_SAVING: Duration = Duration::from_secs(5);

/// Time over which the rate is smoothed that is shown, and that the cap goes by.
pub const SMOOTHING: Duration = Duration::from_secs(5);

/// The closes that are due for one load balancer.
#[derive(Clone, Debug)]
pub struct Pacer {
    credit: f64,
    /// Earned, and still to flow into the credit at `flow` a second.
    coming: f64,
    flow: f64,
    lapsed: f64,
    rate: Option<f64>,
    at: Timestamp,
    earned_at: Timestamp,
}

// === impl Pacer ===

impl Pacer {
    /// Starts at `now` with a credit of `fraction`, a random number from 0 to 1.
    #[must_use]
    pub fn new(fraction: f64, now: Timestamp) -> Self {
        // A clamp would let through what is no number at all.
        let credit = if (0.0..=1.0).contains(&fraction) { fraction } else { 0.0 };
        let (coming, flow, lapsed, rate) = (0.0, 0.0, 0.0, None);
        Self { credit, coming, flow, lapsed, rate, at: now, earned_at: now }
    }

    /// Takes in the closes earned since the last call. They become due over a time of `over`.
    pub fn earn(&mut self, closes: f64, over: Duration, now: Timestamp) {
        self.on_tick(now);
        self.coming += closes;
        self.flow = self.coming / over.as_secs_f64().max(0.1);
        let elapsed = now.since(self.earned_at).as_secs_f64();
        if elapsed > 0.0 {
            self.earned_at = now;
            let latest = (closes / elapsed).min(PerSecond::MAX.get());
            self.rate = match self.rate {
                // The first closes were earned before there was a rate to speak of.
                None if closes > 0.0 => Some(latest),
                None => None,
                Some(rate) => {
                    let part = -f64::exp_m1(-elapsed / SMOOTHING.as_secs_f64());
                    Some(rate + (latest - rate) * part)
                }
            };
        }
    }

    /// Lets credit flow in up to `now`.
    pub fn on_tick(&mut self, now: Timestamp) {
        let elapsed = now.since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        // So it is with most load balancers most of the time.
        if self.coming <= 0.0 {
            return;
        }
        let more = self.coming.min(self.flow * elapsed);
        self.coming -= more;
        let cap = self.cap();
        let credit = self.credit + more;
        // Credit saved at a higher rate is kept, but grows no further.
        let kept = credit.min(cap.max(self.credit));
        self.lapsed += credit - kept;
        self.credit = kept;
    }

    fn cap(&self) -> f64 {
        2.0 + self.flow.max(self.rate.unwrap_or(0.0)) * LONGEST_SAVING.as_secs_f64()
    }

    /// Whether closes have waited for so long that some will soon be lost at the cap.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        self.credit >= 1.0 && self.credit >= 0.75 * self.cap()
    }

    /// The rate at which closes were earned lately, smoothed over [`SMOOTHING`].
    #[must_use]
    pub fn rate(&self) -> PerSecond {
        PerSecond::new(self.rate.unwrap_or(0.0)).unwrap_or_default()
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

    const SECOND: Duration = Duration::from_secs(1);

    fn at_ms(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// Earns once a second, looks every tenth of it, and says how many were due each time.
    fn due_each_tick(pacer: &mut Pacer, per_second: f64, seconds: u64) -> Vec<usize> {
        let mut due = Vec::new();
        for tick in 1..=seconds * 10 {
            let now = at_ms(tick * 100);
            pacer.on_tick(now);
            if tick % 10 == 0 {
                pacer.earn(per_second, SECOND, now);
            }
            due.push(pacer.due());
            pacer.spend(pacer.due());
        }
        due
    }

    #[test]
    fn a_start_that_is_no_fraction_is_none() {
        for fraction in [f64::NAN, f64::INFINITY, -0.5, 1.5] {
            assert_eq!(Pacer::new(fraction, at_ms(0)).due(), 0, "{fraction}");
        }
        assert_eq!(Pacer::new(1.0, at_ms(0)).due(), 1);
    }

    #[test]
    fn what_is_earned_is_spent_and_no_more() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        let due = due_each_tick(&mut pacer, 7.5, 101);
        // What the last second has earned is still to come.
        let spent: usize = due.iter().sum();
        assert!((749..=750).contains(&spent), "{spent}");
        assert_eq!(pacer.take_lapsed(), 0);
        assert!((pacer.rate().get() - 7.5).abs() < 1e-6, "{:?}", pacer.rate());
    }

    #[test]
    fn a_lump_is_spread_over_the_time_that_follows() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        let due = due_each_tick(&mut pacer, 50.0, 10);
        assert!(due.iter().skip(10).all(|due| (4..=6).contains(due)), "{due:?}");
    }

    #[test]
    fn the_start_is_a_fraction_of_a_close() {
        let mut early = Pacer::new(0.9, at_ms(0));
        let mut late = Pacer::new(0.1, at_ms(0));
        for pacer in [&mut early, &mut late] {
            pacer.earn(0.5, SECOND, at_ms(1_000));
            pacer.on_tick(at_ms(2_000));
        }
        assert_eq!((early.due(), late.due()), (1, 0));
    }

    #[test]
    fn what_could_not_be_spent_is_no_burst_and_is_counted() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        for second in 1..=3_600 {
            pacer.earn(2.0, SECOND, at_ms(second * 1_000));
        }
        pacer.on_tick(at_ms(3_601_000));
        assert_eq!(pacer.due(), 12);
        assert_eq!(pacer.take_lapsed(), 7_188);
        assert_eq!(pacer.take_lapsed(), 0);
    }

    #[test]
    fn a_slow_rate_still_saves_for_one_close() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        for second in 1..=1_002 {
            pacer.earn(0.001, SECOND, at_ms(second * 1_000));
        }
        assert_eq!(pacer.due(), 1);
        assert_eq!(pacer.take_lapsed(), 0);
    }

    #[test]
    fn the_rate_shown_is_right_from_the_first_stretch() {
        let mut pacer = Pacer::new(0.0, at_ms(0));
        pacer.earn(0.0, SECOND, at_ms(1_000));
        pacer.earn(3.0, SECOND, at_ms(2_000));
        assert!((pacer.rate().get() - 3.0).abs() < 1e-9, "{:?}", pacer.rate());
    }

    #[test]
    fn time_does_not_run_back() {
        let mut pacer = Pacer::new(0.0, at_ms(1_000));
        pacer.earn(10.0, SECOND, at_ms(2_000));
        pacer.on_tick(at_ms(3_000));
        pacer.earn(1.0, SECOND, at_ms(500));
        pacer.on_tick(at_ms(400));
        assert_eq!(pacer.due(), 10);
        assert_eq!(pacer.take_lapsed(), 0);
    }
}
