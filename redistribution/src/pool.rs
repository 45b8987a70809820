//! A pool of load balancers that is kept in balance, as one VM of a node sees it.
//!
//! The law stands in [`rebalance`](crate::rebalance). Here is its **futility**: the law trusts that
//! connections which are closed can land on the least loaded. Where they cannot (announced but not
//! in DNS, out of DNS and draining, behind a resolver that caches), closing would go on for ever and
//! change nothing. So the deviation is compared with what the law predicts. Where it has not halved
//! in one and a half time constants, the rate is halved, and again, down to [`LEAST_FACTOR`]. It is the same for one that gets nothing at all, but sooner: after as many
//! closes as would have brought it something with 99 % certainty. A deviation that
//! does halve, traffic where there was none, or a change of the pool starts afresh.

use std::time::Duration;

use crate::Timestamp;
use crate::rebalance::{Load, Phase, Rebalance};

/// Where futile closing ends: one in so many of the closes that the law asks for.
pub const LEAST_FACTOR: f64 = 1.0 / 256.0;

/// Closes per load balancer that land nowhere but elsewhere with a chance of 1 %: `ln(100)`.
const CLOSES_TO_BE_SURE: f64 = 4.6;

/// By when a deviation has to be halved, in time constants. The law halves it in 0.7 of one;
/// measuring and resolving take their time too.
const TIME_TO_HALVE: f64 = 1.5;

/// Clients take a while to resolve the name and to send a request that is counted.
const TIME_TO_LAND: Duration = Duration::from_secs(15);

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    phase: Phase,
    episode: Option<Episode>,
    members: usize,
}

/// What has come of closing so far.
#[derive(Clone, Copy, Debug)]
struct Episode {
    factor: f64,
    /// The deviation that is to be halved, and since when.
    deviation: f64,
    since: Timestamp,
    closes: f64,
    empty: usize,
}

// === impl Pool ===

impl Pool {
    /// The hazards of `loads`, for the `elapsed` since they were last asked for.
    pub fn hazards(
        &mut self,
        settings: &Rebalance,
        loads: &[Load],
        kappa: f64,
        elapsed: Duration,
        now: Timestamp,
    ) -> Vec<f64> {
        if self.members != loads.len() {
            self.members = loads.len();
            self.episode = None;
        }
        let (phase, mut hazards) = settings.hazards(self.phase, loads, kappa);
        self.phase = phase;
        if phase == Phase::Even {
            self.episode = None;
            return hazards;
        }
        let factor = self.factor(settings, loads, now);
        let floor = settings.floor_hazard();
        for hazard in &mut hazards {
            *hazard = (*hazard * factor).max(floor.min(*hazard));
        }
        if let Some(episode) = &mut self.episode {
            let closes = hazards.iter().zip(loads).map(|(h, load)| h * load.connections);
            episode.closes += closes.sum::<f64>() * elapsed.as_secs_f64();
        }
        hazards
    }

    /// Whether connections are being closed for balance.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Whether closing was found futile, and goes on at a part of its rate only.
    #[must_use]
    pub fn is_futile(&self) -> bool {
        self.is_closing() && self.episode.is_some_and(|episode| episode.factor < 1.0)
    }

    fn factor(&mut self, settings: &Rebalance, loads: &[Load], now: Timestamp) -> f64 {
        let deviation = largest_deviation(loads);
        let empty = loads.iter().filter(|load| load.rate.get() <= 0.0).count();
        let fresh = Episode { factor: 1.0, deviation, since: now, closes: 0.0, empty };
        let episode = self.episode.get_or_insert(fresh);
        if empty < episode.empty || deviation <= episode.deviation / 2.0 {
            *episode = fresh;
        }
        episode.empty = empty;
        let time = now.since(episode.since);
        let sure = empty > 0
            && time >= TIME_TO_LAND
            && episode.closes >= CLOSES_TO_BE_SURE * loads.len() as f64;
        if sure || time >= settings.tau().mul_f64(TIME_TO_HALVE) {
            let factor = (episode.factor / 2.0).max(LEAST_FACTOR);
            *episode = Episode { factor, ..fresh };
        }
        episode.factor
    }
}

fn largest_deviation(loads: &[Load]) -> f64 {
    let rates: f64 = loads.iter().map(|load| load.rate.get()).sum();
    let mean = rates / loads.iter().map(|load| load.weight).sum::<f64>();
    loads
        .iter()
        .map(|load| (load.rate.get() / load.weight / mean - 1.0).abs())
        .filter(|deviation| deviation.is_finite())
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::close_rate::PerSecond;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Rebalance {
        Rebalance {
            settle_time: Duration::from_mins(1),
            tolerance: 0.1,
            max_per_second: PerSecond::new(1e6).unwrap(),
            floor: None,
        }
    }

    fn load(rate: f64) -> Load {
        Load {
            rate: PerSecond::new(rate).unwrap(),
            measured_over: Duration::from_secs(10),
            connections: rate,
            weight: 1.0,
        }
    }

    /// Closes per connection in an hour at loads that do not change.
    fn closes_of_an_hour(rates: &[f64]) -> (f64, Pool) {
        let loads: Vec<_> = rates.iter().map(|rate| load(*rate)).collect();
        let mut pool = Pool::default();
        let mut closes = 0.0;
        for second in 0..3600 {
            let now = Timestamp::from_nanos(second * 1_000_000_000);
            let hazards = pool.hazards(&settings(), &loads, 1.0, SECOND, now);
            closes += hazards.iter().zip(rates).map(|(h, rate)| h * rate).sum::<f64>();
        }
        (closes / rates.iter().sum::<f64>(), pool)
    }

    #[test]
    fn an_hour_of_closing_in_vain_costs_each_connection_at_most_four_closes() {
        for rates in [
            [1000.0, 1000.0, 0.0].as_slice(),
            &[1000.0, 1000.0, 400.0],
            &[3000.0, 1000.0, 1000.0, 1000.0],
            &[1000.0, 10.0],
        ] {
            let (closes, pool) = closes_of_an_hour(rates);
            assert!(closes <= 4.0, "{rates:?}: {closes}");
            assert!(pool.is_futile(), "{rates:?}");
        }
    }

    #[test]
    fn what_gets_nothing_at_all_is_found_out_sooner() {
        let (none, _) = closes_of_an_hour(&[1000.0, 1000.0, 0.0]);
        let (little, _) = closes_of_an_hour(&[1000.0, 1000.0, 1.0]);
        assert!(none < little / 2.0, "{none}, {little}");
    }

    #[test]
    fn traffic_where_there_was_none_starts_afresh() {
        let (_, mut pool) = closes_of_an_hour(&[1000.0, 1000.0, 0.0]);
        let now = Timestamp::from_nanos(3_600_000_000_000);
        let loads = [load(1000.0), load(1000.0), load(10.0)];
        pool.hazards(&settings(), &loads, 1.0, SECOND, now);
        assert!(pool.is_closing() && !pool.is_futile());
    }

    #[test]
    fn a_change_of_the_pool_starts_afresh() {
        let (_, mut pool) = closes_of_an_hour(&[1000.0, 1000.0, 0.0]);
        let now = Timestamp::from_nanos(3_600_000_000_000);
        let loads = [load(1000.0), load(1000.0), load(0.0), load(0.0)];
        pool.hazards(&settings(), &loads, 1.0, SECOND, now);
        assert!(pool.is_closing() && !pool.is_futile());
    }

    #[test]
    fn an_even_pool_and_one_alone_are_left_alone() {
        for rates in [[1000.0, 1000.0, 1000.0].as_slice(), &[1000.0], &[0.0, 0.0]] {
            let (closes, pool) = closes_of_an_hour(rates);
            assert!(closes <= 0.0 || closes.is_nan(), "{rates:?}: {closes}");
            assert!(!pool.is_closing());
        }
    }
}
