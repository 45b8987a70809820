//! How much a heavy few weigh among the connections of a load balancer.
//!
//! `kappa = E[r^2] / E[r]^2` over the request rates `r` of connections is 1 where all are
//! alike, and large where few send most: then luck in where connections land makes loads more
//! uneven. Since a random request is on a connection of rate `r` with a chance as `r`, the mean
//! rate over the connections of random requests is `E[r^2] / E[r]`: `kappa` is how many times
//! the plain mean that is.
//!
//! So the connections of some requests are watched for a while, each for the requests that follow.

use std::time::Duration;

use crate::Timestamp;
use crate::close_rate::PerSecond;
use crate::wire::NamedConnection;

/// Connections watched at a time.
const PROBES: usize = 8;

/// How long one is watched.
const WATCHED_FOR: Duration = Duration::from_secs(10);

/// The part that the latest connection watched has in the mean.
const LATEST: f64 = 1.0 / 64.0;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Heaviness {
    probes: Vec<Probe>,
    /// Mean rate, at this node, of the connections of random requests.
    mean: Option<f64>,
    watched: u32,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    connection: NamedConnection,
    since: Timestamp,
    requests: u32,
}

// === impl Heaviness ===

impl Heaviness {
    /// Takes in a request.
    pub fn observe(&mut self, connection: NamedConnection, now: Timestamp) {
        for probe in self.probes.iter_mut().filter(|probe| probe.connection == connection) {
            probe.requests = probe.requests.saturating_add(1);
        }
        if self.probes.len() < PROBES {
            self.probes.push(Probe { connection, since: now, requests: 0 });
        }
    }

    /// Lets time pass: ends what was watched long enough.
    pub fn on_tick(&mut self, now: Timestamp) {
        let Self { probes, mean, watched } = self;
        probes.retain(|probe| {
            let time = now.since(probe.since);
            if time < WATCHED_FOR {
                return true;
            }
            let rate = f64::from(probe.requests) / time.as_secs_f64();
            *watched = watched.saturating_add(1);
            let part = LATEST.max(1.0 / f64::from(*watched));
            *mean = Some(mean.map_or(rate, |mean| mean + (rate - mean) * part));
            false
        });
    }

    /// `kappa`, at least 1, of `connections` that send `own_rate` to this node together; 1 as long
    /// as nothing is known.
    #[must_use]
    pub fn kappa(&self, connections: f64, own_rate: PerSecond) -> f64 {
        let plain = own_rate.get() / connections;
        let kappa = self.mean.unwrap_or(0.0) / plain;
        if kappa.is_finite() { kappa.max(1.0) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::VmToken;

    /// `kappa` as measured from 100 requests a second on connections with these rates.
    fn measured(rates: &[f64]) -> f64 {
        let mut heaviness = Heaviness::default();
        let total: f64 = rates.iter().sum();
        let mut random = 1_u64;
        for request in 0..200_000_u64 {
            let now = Timestamp::from_nanos(request * 10_000_000);
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut left = (random >> 33) as f64 / f64::from(1_u32 << 31) * total;
            let mut id = 0;
            for rate in rates {
                left -= rate;
                if left < 0.0 {
                    break;
                }
                id += 1;
            }
            heaviness.observe(NamedConnection { vm: VmToken::from_random(1), id }, now);
            if request % 10 == 0 {
                heaviness.on_tick(now);
            }
        }
        heaviness.kappa(rates.len() as f64, PerSecond::new(100.0).unwrap())
    }

    #[test]
    fn alike_connections_have_a_kappa_of_1() {
        let kappa = measured(&[1.0; 50]);
        assert!((1.0..1.2).contains(&kappa), "{kappa}");
    }

    #[test]
    fn a_heavy_few_raise_it() {
        // Five of fifty send half of all requests.
        let rates: Vec<_> = (0..50).map(|id| if id < 5 { 9.0 } else { 1.0 }).collect();
        let exact = (5.0 * 81.0 + 45.0) / 50.0 / (90.0_f64 / 50.0).powi(2);
        let kappa = measured(&rates);
        assert!((kappa / exact - 1.0).abs() < 0.3, "{kappa}, not {exact}");
    }

    #[test]
    fn nothing_known_is_1() {
        assert!((Heaviness::default().kappa(0.0, PerSecond::ZERO) - 1.0).abs() < f64::EPSILON);
    }
}
