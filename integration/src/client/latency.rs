//! Latencies, counted into fixed buckets so that a million cost as little as one.
//!
//! Buckets are logarithmic with 16 steps per power of two: a quantile is exact to
//! 1/16, from a microsecond to hours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const STEPS_LOG2: u32 = 4;
const STEPS: usize = 1 << STEPS_LOG2;
/// Up to 2^40 microseconds, two weeks.
const BUCKETS: usize = (40 - STEPS_LOG2 as usize + 1) * STEPS;

/// Counts latencies; many may record at once.
#[derive(Debug)]
pub struct LatencyHistogram(Vec<AtomicU64>);

// === impl LatencyHistogram ===

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl LatencyHistogram {
    /// Counts one.
    pub fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(micros).min(BUCKETS - 1);
        self.0[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// The latency that a part `quantile` (0.99 for p99) of all recorded does not exceed; `None`
    /// where none was recorded.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.0.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return None;
        }
        let mut below = 0;
        let bucket = counts.iter().position(|count| {
            below += count;
            below as f64 >= quantile * total as f64
        });
        Some(Duration::from_micros(upper_bound(bucket.unwrap_or(BUCKETS - 1))))
    }
}

fn bucket_of(micros: u64) -> usize {
    let exponent = micros.checked_ilog2().unwrap_or(0);
    let shift = exponent.saturating_sub(STEPS_LOG2);
    // Below 2 * STEPS, since the shift leaves STEPS_LOG2 + 1 bits.
    let step = usize::try_from(micros >> shift).unwrap_or(usize::MAX);
    shift as usize * STEPS + step
}

/// The largest whole number of microseconds that falls into the bucket.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    (((bucket % STEPS + STEPS + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for micros in (0..100_000).chain([1 << 30, (1 << 39) + 12345]) {
            let bucket = bucket_of(micros);
            assert!(upper_bound(bucket) >= micros);
            assert!(bucket == 0 || upper_bound(bucket - 1) < micros, "{micros}");
        }
    }

    #[test]
    fn quantiles_are_exact_to_a_sixteenth() {
        let histogram = LatencyHistogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (quantile, exact) in [(0.5, 5_000.0), (0.99, 9_900.0), (1.0, 10_000.0)] {
            let found = histogram.quantile(quantile).unwrap().as_secs_f64() * 1e6;
            assert!((exact..=exact * 17.0 / 16.0).contains(&found), "{found}");
        }
        histogram.record(Duration::MAX);
        assert!(histogram.quantile(1.0).unwrap() > Duration::from_hours(24));
    }
}
