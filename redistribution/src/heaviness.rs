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

/// A connection with a larger part of its load balancer's requests cannot be moved to where it
/// would fit, as long as there are enough others.
pub const MOST_OF_ALL: f64 = 0.1;

/// There are enough where it has so many times its part by number.
const MANY_TIMES: f64 = 4.0;

/// Connections that are remembered as heavy.
const MOST_HEAVY: usize = 16;

/// Requests that tell what part a connection has.
const ENOUGH: u64 = 32;

/// What was counted fades with this time constant.
const MEMORY: Duration = Duration::from_mins(5);

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Heaviness {
    /// The ids alone, since each request is compared with all of them.
    ids: Vec<u64>,
    watched: Vec<Watched>,
    heavy: Vec<Watched>,
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
    /// Its own since.
    own: u64,
}

// === impl Heaviness ===

impl Heaviness {
    /// Takes in so many requests of one connection.
    pub fn observe(&mut self, connection: NamedConnection, requests: u64, now: Timestamp) {
        self.requests = self.requests.saturating_add(requests);
        self.pairs.all += requests as f64 * self.ids.len() as f64;
        for heavy in self.heavy.iter_mut().filter(|heavy| heavy.connection == connection) {
            heavy.own = heavy.own.saturating_add(requests);
        }
        if self.ids.contains(&connection.id) {
            for watched in self.watched.iter_mut().filter(|other| other.connection == connection) {
                watched.own = watched.own.saturating_add(requests);
                self.pairs.same += requests as f64;
            }
        }
        if self.ids.len() < WATCHED {
            self.ids.push(connection.id);
            self.watched.push(Watched { connection, since: now, after: self.requests, own: 0 });
        }
    }

    /// Lets time pass: ends what was watched long enough.
    pub fn on_tick(&mut self, now: Timestamp) {
        let Self { ids, watched, heavy, requests, pairs, faded_at } = self;
        watched.retain(|watched| {
            let all = requests.saturating_sub(watched.after);
            if now.since(watched.since) < WATCHED_FOR || all < WATCHED_REQUESTS {
                return true;
            }
            // What is heavy stays known as such, but counts no more often than others do.
            if watched.part(*requests) > MOST_OF_ALL && heavy.len() < MOST_HEAVY {
                heavy.push(*watched);
            }
            false
        });
        heavy.retain(|watched| watched.part(*requests) > MOST_OF_ALL);
        ids.clear();
        ids.extend(watched.iter().map(|watched| watched.connection.id));
        let elapsed = now.since(faded_at.replace(now).unwrap_or(now));
        let left = (-elapsed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        pairs.all *= left;
        pairs.same *= left;
    }

    /// Whether so much of what its load balancer gets, on so many connections, comes on this one
    /// that moving it would not even out anything.
    #[must_use]
    pub fn is_too_heavy(&self, connection: NamedConnection, connections: f64) -> bool {
        let most = MOST_OF_ALL.max(MANY_TIMES / connections);
        let known = self.heavy.iter().chain(&self.watched);
        let mut known = known.filter(|watched| watched.connection == connection);
        known.any(|watched| watched.part(self.requests) > most)
    }

    /// What was counted lately.
    #[must_use]
    pub fn pairs(&self) -> Pairs {
        self.pairs
    }
}

// === impl Watched ===

impl Watched {
    /// Its part of the requests since, of `requests` in all; none where these are too few to tell.
    fn part(&self, requests: u64) -> f64 {
        let all = requests.saturating_sub(self.after);
        if all < ENOUGH { 0.0 } else { self.own as f64 / all as f64 }
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
    fn one_of_many_that_sends_a_third_of_all_is_too_heavy_and_one_of_three_is_not() {
        let connection = |id| NamedConnection { vm: VmToken::from_random(1), id };
        let mut heaviness = Heaviness::default();
        for request in 0..300 {
            let id = if request % 3 == 0 { 0 } else { request };
            heaviness.observe(connection(id), 1, Timestamp::from_nanos(request));
        }
        assert!(heaviness.is_too_heavy(connection(0), 100.0));
        assert!(!heaviness.is_too_heavy(connection(0), 3.0));
        assert!(!heaviness.is_too_heavy(connection(1), 100.0));
    }

    #[test]
    fn what_is_not_known_may_be_large() {
        assert!(kappa([]).is_infinite());
        assert!(kappa([(Heaviness::default().pairs(), 100.0)]).is_infinite());
        let little = Pairs { all: 200.0, same: 0.0 };
        assert!((kappa([(little, 2000.0)]) - 10.0).abs() < 1e-9);
    }
}
