//! How much a heavy few weigh among the connections of a load balancer.
//!
//! `kappa = E[r^2] / E[r]^2` over the request rates `r` of connections is 1 where all are
//! alike, and large where few send most: then luck in where connections land makes loads more
//! uneven. Of `n` connections, two random requests are on the same one with the chance
//! `kappa / n`. So the connections of some requests are watched for a while, and of the requests
//! that follow it is counted how many are on one of these.

use std::time::Duration;

use crate::Timestamp;
use crate::wire::NamedConnection;

/// Connections watched at a time.
const WATCHED: usize = 64;

/// How long one is watched at least, so that requests that come in bursts do not count as many.
const WATCHED_FOR: Duration = Duration::from_secs(10);

/// And for so many requests at least.
const WATCHED_REQUESTS: u64 = 64;

/// What was counted fades with this time constant.
const MEMORY: Duration = Duration::from_mins(5);

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Heaviness {
    /// The ids alone, since each request is compared with all of them.
    ids: Vec<u64>,
    watched: Vec<Watched>,
    requests: u64,
    pairs: Pairs,
    faded_at: Option<Timestamp>,
}

/// Pairs of requests, and those of them that were on the same connection.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pairs {
    /// All.
    pub all: f64,
    /// On the same.
    pub same: f64,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    connection: NamedConnection,
    since: Timestamp,
    /// Requests until then.
    after: u64,
}

// === impl Heaviness ===

impl Heaviness {
    /// Takes in so many requests of one connection.
    pub fn observe(&mut self, connection: NamedConnection, requests: u64, now: Timestamp) {
        self.requests = self.requests.saturating_add(requests);
        self.pairs.all += requests as f64 * self.ids.len() as f64;
        if self.ids.contains(&connection.id) {
            let same = self.watched.iter().filter(|watched| watched.connection == connection);
            self.pairs.same += requests as f64 * same.count() as f64;
        }
        if self.ids.len() < WATCHED {
            self.ids.push(connection.id);
            self.watched.push(Watched { connection, since: now, after: self.requests });
        }
    }

    /// Lets time pass: ends what was watched long enough.
    pub fn on_tick(&mut self, now: Timestamp) {
        let Self { ids, watched, requests, pairs, faded_at } = self;
        watched.retain(|watched| {
            now.since(watched.since) < WATCHED_FOR
                || requests.saturating_sub(watched.after) < WATCHED_REQUESTS
        });
        ids.clear();
        ids.extend(watched.iter().map(|watched| watched.connection.id));
        let elapsed = now.since(faded_at.replace(now).unwrap_or(now));
        let left = (-elapsed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        pairs.all *= left;
        pairs.same *= left;
    }

    /// What was counted lately.
    #[must_use]
    pub fn pairs(&self) -> Pairs {
        self.pairs
    }
}

/// `kappa`, at least 1, of load balancers with so many connections each.
///
/// Where little was counted it is large, as far as is known; where nothing was, infinite.
#[must_use]
pub fn kappa(load_balancers: impl IntoIterator<Item = (Pairs, f64)>) -> f64 {
    let (mut same, mut alike) = (1.0, 0.0);
    for (pairs, connections) in load_balancers {
        if connections >= 1.0 {
            same += pairs.same;
            alike += pairs.all / connections;
        }
    }
    let kappa: f64 = same / alike;
    if kappa.is_nan() { f64::INFINITY } else { kappa.max(1.0) }
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
            heaviness.observe(NamedConnection { vm: VmToken::from_random(1), id }, 1, now);
            if request % 10 == 0 {
                heaviness.on_tick(now);
            }
        }
        kappa([(heaviness.pairs(), rates.len() as f64)])
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
    fn what_is_not_known_may_be_large() {
        assert!(kappa([]).is_infinite());
        assert!(kappa([(Heaviness::default().pairs(), 100.0)]).is_infinite());
        let little = Pairs { all: 200.0, same: 0.0 };
        assert!((kappa([(little, 2000.0)]) - 10.0).abs() < 1e-9);
    }
}
