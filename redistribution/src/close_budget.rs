//! The closes an edge may make per second, over all its workers.
//!
//! A token bucket that holds a tenth of a second's worth, at least one close, so that what is
//! allowed per second cannot be spent twice around a second's end. It is a plain value of
//! 16 bytes, because the workers' VMs share no memory: each takes it out of the host's shared
//! data, changes it, and puts it back if nobody else has in between.

use std::time::Duration;

use crate::Timestamp;
use crate::close_rate::PerSecond;

/// Closes that can be made at once, as time at the limit.
const BURST: Duration = Duration::from_millis(100);

/// What is left to spend, and when that was so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CloseBudget {
    tokens: f64,
    at: Timestamp,
}

/// Length of a [`CloseBudget`] as bytes.
pub const BYTES: usize = 16;

// === impl CloseBudget ===

impl CloseBudget {
    /// A budget nothing was taken from yet.
    #[must_use]
    pub fn full(limit: PerSecond, now: Timestamp) -> Self {
        Self { tokens: capacity(limit), at: now }
    }

    /// Takes one close, if one is left at `now`.
    #[must_use]
    pub fn take(self, limit: PerSecond, now: Timestamp) -> Option<Self> {
        let earned = limit.over(now.since(self.at));
        let tokens = (self.tokens + earned).min(capacity(limit));
        (tokens >= 1.0).then(|| Self { tokens: tokens - 1.0, at: self.at.max(now) })
    }

    /// The budget as it is kept in shared data.
    #[must_use]
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let fields = self.tokens.to_le_bytes().into_iter().chain(self.at.as_nanos().to_le_bytes());
        for (byte, field) in bytes.iter_mut().zip(fields) {
            *byte = field;
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` if these bytes cannot be that.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (tokens, at) = bytes.split_first_chunk::<8>()?;
        let tokens = f64::from_le_bytes(*tokens);
        let at = Timestamp::from_nanos(u64::from_le_bytes(at.try_into().ok()?));
        (tokens.is_finite() && tokens >= 0.0).then_some(Self { tokens, at })
    }
}

fn capacity(limit: PerSecond) -> f64 {
    limit.over(BURST).max(1.0)
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn at_ms(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn closes(limit: f64, asks_per_second: u64, seconds: u64) -> u64 {
        let limit = PerSecond::new(limit).unwrap();
        let mut budget = CloseBudget::full(limit, at_ms(0));
        let mut closes = 0;
        for ask in 0..asks_per_second * seconds {
            if let Some(left) = budget.take(limit, at_ms(ask * 1000 / asks_per_second)) {
                budget = CloseBudget::from_bytes(&left.to_bytes()).unwrap();
                closes += 1;
            }
        }
        closes
    }

    #[test]
    fn a_flood_of_requests_gets_the_limit() {
        assert_eq!(closes(2.0, 100, 60), 120);
        assert_eq!(closes(0.5, 100, 60), 30);
        assert_eq!(closes(50.0, 1000, 60), 5 + 3000 - 1);
    }

    #[test]
    fn what_stays_below_the_limit_is_all_granted() {
        assert_eq!(closes(10.0, 9, 60), 540);
    }

    #[test]
    fn a_clock_that_jumps_back_gives_nothing_away() {
        let limit = PerSecond::new(1.0).unwrap();
        let spent = CloseBudget::full(limit, at_ms(5_000)).take(limit, at_ms(5_000)).unwrap();
        assert_eq!(spent.take(limit, at_ms(0)), None);
    }

    #[test]
    fn bytes_that_are_no_budget_are_refused() {
        let nan = [f64::NAN.to_le_bytes(), [0; 8]].concat();
        for bytes in [&b""[..], &[0; 15], &[0; 17], &nan] {
            assert_eq!(CloseBudget::from_bytes(bytes), None);
        }
    }
}
