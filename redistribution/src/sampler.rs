//! Which requests an edge stamps (design, section 7, point 7: host calls are what a filter costs).
//!
//! A node has to see a few hundred stamps to know its share within some percent, not every request.
//! So a VM that forwards many requests stamps some of them: about as many per second as it is told.
//! Each stamp says how many requests it stands for, those since the last one included. So what all
//! nodes together are told of is all that the VM has forwarded, exactly as without sampling.
//!
//! The gaps between stamps are random. Fixed ones would fall in step with whatever goes round behind the
//! edge: of two nodes that take turns, one would get all stamps.

use std::time::Duration;

use crate::Timestamp;
use crate::close_rate::PerSecond;

/// How far the request rate looks back: a burst is sampled once it has lasted so long, and
/// after it is over all are stamped again as soon.
const RATE_WINDOW: Duration = Duration::from_millis(500);

/// Ticks that follow each other faster are one.
const SHORTEST_TICK: Duration = Duration::from_millis(50);

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Sampler {
    max_per_second: PerSecond,
    random: fastrand::Rng,
    /// The mean gap between stamps, in requests: 1 where all are stamped.
    mean_gap: u64,
    /// Requests until the next stamp, that one included; at least 1.
    until_next: u64,
    /// Requests since the last tick.
    counted: u64,
    rate: f64,
    ticked_at: Option<Timestamp>,
}

// === impl Sampler ===

impl Sampler {
    /// Stamps all requests as long as these are not much more than `max_per_second`, and about so
    /// many of more. `seed` is a random number.
    #[must_use]
    pub fn new(max_per_second: PerSecond, seed: u64) -> Self {
        Self {
            max_per_second,
            random: fastrand::Rng::with_seed(seed),
            mean_gap: 1,
            until_next: 1,
            counted: 0,
            rate: 0.0,
            ticked_at: None,
        }
    }

    /// Changes how many are stamped at most, as a new configuration may.
    pub fn set_max_per_second(&mut self, max_per_second: PerSecond) {
        self.max_per_second = max_per_second;
    }

    /// Takes in a request; true if it is to be stamped.
    pub fn on_request(&mut self) -> bool {
        self.counted = self.counted.saturating_add(1);
        self.until_next = self.until_next.saturating_sub(1);
        let stamped = self.until_next == 0;
        if stamped {
            self.until_next = self.gap();
        }
        stamped
    }

    /// Whether some requests go without a stamp.
    #[must_use]
    pub fn leaves_some_out(&self) -> bool {
        self.mean_gap > 1
    }

    /// Lets time pass: call it every tenth of a second or so.
    pub fn on_tick(&mut self, now: Timestamp) {
        let Some(before) = self.ticked_at else {
            self.ticked_at = Some(now);
            self.counted = 0;
            return;
        };
        let elapsed = now.since(before);
        if elapsed < SHORTEST_TICK {
            return;
        }
        self.ticked_at = Some(now);
        let latest = self.counted as f64 / elapsed.as_secs_f64();
        self.counted = 0;
        let part = elapsed.as_secs_f64() / (elapsed + RATE_WINDOW).as_secs_f64();
        self.rate += (latest - self.rate) * part;
        self.set_mean_gap(whole(self.rate / self.max_per_second.get()).max(1));
    }

    fn set_mean_gap(&mut self, mean_gap: u64) {
        let shorter = mean_gap < self.mean_gap;
        self.mean_gap = mean_gap;
        if shorter {
            // What was drawn when there were many must not leave few without a stamp for long.
            self.until_next = self.until_next.min(self.gap());
        }
    }

    fn gap(&mut self) -> u64 {
        match self.mean_gap {
            0 | 1 => 1,
            mean => self.random.u64(1..mean.saturating_mul(2)),
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn sampler(max_per_second: f64) -> Sampler {
        Sampler::new(PerSecond::new(max_per_second).unwrap(), 7)
    }

    /// So many ticks with so many requests in each; the stamps of all.
    fn run(sampler: &mut Sampler, ticks: u64, requests: u64) -> u64 {
        let start = sampler.ticked_at.unwrap_or_default();
        let mut stamped = 0;
        for tick in 1..=ticks {
            stamped += (0..requests).filter(|_| sampler.on_request()).count() as u64;
            let nanos = u64::try_from(TICK.as_nanos()).unwrap() * tick;
            sampler.on_tick(Timestamp::from_nanos(start.as_nanos() + nanos));
        }
        stamped
    }

    #[test]
    fn all_are_stamped_up_to_the_limit() {
        let mut sampler = sampler(1000.0);
        sampler.on_tick(Timestamp::default());
        assert_eq!(run(&mut sampler, 100, 100), 10_000);
        assert!(!sampler.leaves_some_out());
    }

    #[test]
    fn of_more_about_as_many_as_the_limit_are() {
        let mut sampler = sampler(1000.0);
        sampler.on_tick(Timestamp::default());
        run(&mut sampler, 50, 2_000);
        assert!(sampler.leaves_some_out());
        let stamped = run(&mut sampler, 100, 2_000);
        assert!((9_500..=10_500).contains(&stamped), "{stamped} in ten seconds");
    }

    #[test]
    fn few_after_many_are_soon_all_stamped() {
        let mut sampler = sampler(100.0);
        sampler.on_tick(Timestamp::default());
        run(&mut sampler, 50, 5_000);
        let mut ticks = 0;
        while run(&mut sampler, 1, 1) == 0 || sampler.leaves_some_out() {
            ticks += 1;
            assert!(ticks < 60, "{sampler:?}");
        }
        assert_eq!(run(&mut sampler, 20, 1), 20);
    }

    #[test]
    fn what_takes_turns_behind_it_gets_its_part_of_the_stamps() {
        for turns in [2_u64, 3, 4, 10, 39, 40] {
            let mut sampler = sampler(100.0);
            sampler.on_tick(Timestamp::default());
            run(&mut sampler, 50, 200);
            let mut stamps = vec![0_u64; usize::try_from(turns).unwrap()];
            let (mut number, mut since) = (0, 0);
            while number < 400_000 {
                number += 1;
                since += 1;
                if sampler.on_request() {
                    stamps[usize::try_from(number % turns).unwrap()] += since;
                    since = 0;
                }
            }
            let even = 400_000.0 / turns as f64;
            for part in &stamps {
                let off = (*part as f64 / even - 1.0).abs();
                assert!(off < 0.15, "{turns} that take turns: {stamps:?}");
            }
        }
    }
}
