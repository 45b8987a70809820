//! How many connections are open, where they are known by their requests only and not every request
//! is looked at.
//!
//! Of connections with few requests some are then never seen. How many there are of these tell those
//! that were seen just once, and just twice: Chao's estimate, which is exact on average where
//! connections have alike many requests, and a lower bound where not.

use std::time::Duration;

use super::OPEN_AFTER_REQUEST;
use crate::Timestamp;

/// The last three times that a request of a connection was seen, the latest first; in tenths of a
/// second, which a tick is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sightings([Option<u32>; 3]);

/// Counts connections by how often they were seen lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estimate {
    seen: u64,
    once: u64,
    twice: u64,
}

// === impl Sightings ===

impl Sightings {
    /// One more.
    pub fn and(self, now: Timestamp) -> Self {
        let [latest, before, _] = self.0;
        Self([Some(tenths(now)), latest, before])
    }

    /// How often it was seen within [`OPEN_AFTER_REQUEST`] of `now`, up to three times.
    fn lately(self, now: Timestamp) -> usize {
        let now = tenths(now);
        let within = u32::try_from(OPEN_AFTER_REQUEST.as_millis() / 100).unwrap_or(u32::MAX);
        self.0.iter().flatten().filter(|at| now.wrapping_sub(**at) < within).count()
    }
}

fn tenths(at: Timestamp) -> u32 {
    let tenths = at.since(Timestamp::default()).as_nanos() / Duration::from_millis(100).as_nanos();
    // Wraps after 13 years.
    u32::try_from(tenths % (u128::from(u32::MAX) + 1)).unwrap_or_default()
}

// === impl Estimate ===

impl Estimate {
    /// Counts a connection that is open as far as is known.
    pub fn count(&mut self, sightings: Sightings, now: Timestamp) {
        self.seen += 1;
        match sightings.lately(now) {
            1 => self.once += 1,
            2 => self.twice += 1,
            _ => {}
        }
    }

    /// How many there are: those that were seen where all requests are `looked_at`, and otherwise
    /// some more.
    pub fn open(self, looked_at_all: bool) -> u64 {
        if looked_at_all {
            return self.seen;
        }
        let pairs = self.once.saturating_mul(self.once.saturating_sub(1));
        self.seen + pairs / (2 * (self.twice + 1))
    }
}
