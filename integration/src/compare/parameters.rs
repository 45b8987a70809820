//! What each contender needs to let an empty edge settle in the same time `S`.
//!
//! The comparison is fair if all of them are as quick; then it is the cost that differs. A
//! connection that is closed lands on any edge alike. So what a new edge lacks at `t` after it
//! joined, as a part of its load, is the part of the connections that have not been closed since:
//! the chance that a connection lives on for more than `t`. The load has settled once that is down to the
//! tolerance `e`:
//!
//! - **Closed at random**, at any moment alike, once in `T` on average: `exp(-t / T)`, and so
//!   `T = S / ln(1 / e)`. With a fixed chance `p` at each of `r` responses a second it is
//!   `(1 - p)^(r t)`, and so `p = 1 - e^(1 / (r S))`.
//! - **Closed at a fixed age** `L`, ages being spread evenly before: `1 - t / L`, and so
//!   `L = S / (1 - e)`. With ages up to a part `j` more (jitter), as long as `t` is below the least of them,
//!   it is the mean that counts: `1 - t / (L (1 + j / 2))`.
//!
//! A constant rate closes as many connections of the new edge as of any other, so it does not
//! spread by itself. It does together with a least age: where the rate is enough to close
//! all connections of that age, they are closed at a fixed age. The busiest edges are those before
//! the join, with half of the `N` connections each: `N / (2 L)`.

use std::time::Duration;

use crate::run::TOLERANCE;

/// What a rate has to spare, so that it is the age that decides.
const RATE_TO_SPARE: f64 = 1.25;
/// `rebalance` wants so many share windows in its settle time.
const SHARE_WINDOWS: u32 = 20;
/// The share window where there is time for it; it is also Spillway's default.
const SHARE_WINDOW: Duration = Duration::from_secs(2);

/// `T`: the mean age of connections that are closed at random.
pub(super) fn random_age(settle_time: Duration) -> Duration {
    settle_time.div_f64((1.0 / TOLERANCE).ln())
}

/// `L`: the age of connections that are all closed at the same.
pub(super) fn fixed_age(settle_time: Duration) -> Duration {
    settle_time.div_f64(1.0 - TOLERANCE)
}

/// The least age where it is extended at random by up to the part `jitter` of it, which is at most
/// 0.2: the new edge then settles before the first connection has that age.
pub(super) fn least_age(settle_time: Duration, jitter: f64) -> Duration {
    fixed_age(settle_time).div_f64(1.0 + jitter / 2.0)
}

/// The requests that a client with this pace sends in [`fixed_age`].
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Thousands, and not negative.
pub(super) fn requests_per_connection(settle_time: Duration, requests_per_second: f64) -> u32 {
    (fixed_age(settle_time).as_secs_f64() * requests_per_second).round().max(1.0) as u32
}

/// `p`: the chance of each response to be the last one of its connection.
pub(super) fn chance_per_response(settle_time: Duration, requests_per_second: f64) -> f64 {
    1.0 - TOLERANCE.powf(1.0 / (requests_per_second * settle_time.as_secs_f64()))
}

/// Closes per second of each edge that leave no connection above [`fixed_age`], before and after the join.
pub(super) fn closes_per_second(settle_time: Duration, clients: usize, edges_before: usize) -> f64 {
    let rate = clients as f64 / edges_before as f64 / fixed_age(settle_time).as_secs_f64();
    (rate * RATE_TO_SPARE * 100.0).round().max(1.0) / 100.0
}

/// Spillway's share window.
pub(super) fn share_window(settle_time: Duration) -> Duration {
    whole_millis(SHARE_WINDOW.min(settle_time / SHARE_WINDOWS))
}

/// Without the fractions of a millisecond, which configurations do not have.
pub(super) fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE_TIME: Duration = Duration::from_secs(30);

    fn assert_near(actual: f64, expected: f64) {
        assert!((actual / expected - 1.0).abs() < 0.002, "{actual}, not {expected}");
    }

    /// The part of connections that live on for more than the settle time, by closing a million
    /// whose lives end as told, each at a random moment of its life.
    fn left(life_s: impl Fn(&mut fastrand::Rng) -> f64) -> f64 {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut left, mut all) = (0.0, 0.0);
        for _ in 0..1_000_000 {
            // Longer lives are met more often.
            let life_s = life_s(&mut random);
            all += life_s;
            if life_s * random.f64() > SETTLE_TIME.as_secs_f64() {
                left += life_s;
            }
        }
        left / all
    }

    #[test]
    fn every_way_leaves_a_tenth_at_the_settle_time() {
        let close = |left: f64| assert!((left - TOLERANCE).abs() < 0.002, "{left}");

        let age_s = fixed_age(SETTLE_TIME).as_secs_f64();
        close(left(|_| age_s));
        let least_s = least_age(SETTLE_TIME, 0.2).as_secs_f64();
        close(left(|random| least_s * (1.0 + 0.2 * random.f64())));
        let mean_s = random_age(SETTLE_TIME).as_secs_f64();
        close(left(|random| -mean_s * random.f64().ln()));
        let chance = chance_per_response(SETTLE_TIME, 2.0);
        close((1.0 - chance).powi(60));
    }

    #[test]
    fn the_parameters_of_the_default_run() {
        assert_near(random_age(SETTLE_TIME).as_secs_f64(), 13.03);
        assert_near(fixed_age(SETTLE_TIME).as_secs_f64(), 33.33);
        assert_near(least_age(SETTLE_TIME, 0.2).as_secs_f64(), 30.3);
        assert_near(chance_per_response(SETTLE_TIME, 1.0), 0.0739);
        assert_eq!(requests_per_connection(SETTLE_TIME, 1.0), 33);
        assert_near(closes_per_second(SETTLE_TIME, 1_200, 2), 22.5);
        assert_eq!(share_window(SETTLE_TIME), Duration::from_millis(1_500));
        assert_eq!(share_window(SETTLE_TIME * 2), SHARE_WINDOW);
    }

    #[test]
    fn a_constant_rate_suffices_for_the_busiest_edges() {
        let age_s = fixed_age(SETTLE_TIME).as_secs_f64();
        for clients in [1, 120, 5_000] {
            let closed = closes_per_second(SETTLE_TIME, clients, 2) * age_s;
            assert!(closed >= clients as f64 / 2.0, "{clients}: {closed}");
        }
    }
}
