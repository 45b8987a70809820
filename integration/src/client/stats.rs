//! What happened to the clients' requests and connections.
//!
//! Counted where it happens, read while it goes on. A request is counted when it
//! has ended, so `requests = responses_ok + failed` holds at every moment.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::latency::LatencyHistogram;

/// Enough to see what went wrong; a dead edge can produce millions.
const FAILURES_KEPT: usize = 50;

/// Shared by all clients of a pool.
#[derive(Debug, Default)]
pub struct ClientStats {
    pub(super) responses_ok: Counter,
    pub(super) unsent: Counter,
    pub(super) closes_seen: Counter,
    pub(super) idle_closes: Counter,
    pub(super) connect_errors: Counter,
    failed: Counter,
    connections_lost: Counter,
    latency: LatencyHistogram,
    failures: Mutex<Vec<String>>,
    edges: Mutex<BTreeMap<Ipv4Addr, Arc<EdgeStats>>>,
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

#[derive(Debug, Default)]
struct EdgeStats {
    open: AtomicU64,
    opened: Counter,
    requests: Counter,
    failed: Counter,
    in_flight: AtomicU64,
    /// Since it was last asked for.
    most_in_flight: AtomicU64,
}

/// The numbers of [`ClientStats`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClientTotals {
    /// Requests that were handed to a connection and have ended: `responses_ok + failed`.
    pub requests: u64,
    /// Complete responses: status 200, whole body of the announced length.
    pub responses_ok: u64,
    /// Requests that were handed to a connection and ended in any other way.
    pub failed: u64,
    /// Requests that a connection gave back before anything was written, since it was going
    /// away; they were sent on the next one. Not part of `requests` until they were.
    pub unsent: u64,
    /// Connections opened, handshakes included.
    pub connections_opened: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Connections that were told to close: `connection: close`, GOAWAY with `NO_ERROR`, or an
    /// idle HTTP/1 connection closed by the peer.
    pub closes_seen: u64,
    /// Those of `closes_seen` where the peer closed an idle HTTP/1 connection without a word
    /// before, which is how requests get lost in the field.
    pub idle_closes: u64,
    /// Connections that ended in any other way: reset, EOF, GOAWAY with an error.
    pub connections_lost: u64,
    /// Attempts to resolve or to connect that failed.
    pub connect_errors: u64,
    /// Half of the complete responses took no longer, in microseconds.
    pub latency_p50_us: Option<u64>,
    /// 99 % of the complete responses took no longer, in microseconds.
    pub latency_p99_us: Option<u64>,
    /// By the address that was connected to.
    pub edges: BTreeMap<Ipv4Addr, EdgeTotals>,
    /// The first failures, lost connections and connect errors, in words.
    pub failures: Vec<String>,
}

/// What one edge got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeTotals {
    /// Connections open now.
    pub open: u64,
    /// Connections opened so far.
    pub opened: u64,
    /// Requests that have ended, failed ones included.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
}

/// A request in flight in the books; ends its entry when dropped.
#[derive(Debug)]
pub(super) struct InFlight<'a>(&'a EdgeStats);

/// One open connection in the books; closes its entry when dropped.
#[derive(Debug)]
pub(super) struct EdgeConnection {
    stats: Arc<ClientStats>,
    edge: Arc<EdgeStats>,
    address: Ipv4Addr,
}

// === impl ClientTotals ===

impl ClientTotals {
    /// Connections to this address that have ended, whoever ended them and however.
    #[must_use]
    pub fn ended_on(&self, address: IpAddr) -> u64 {
        let edge = match address {
            IpAddr::V4(address) => self.edges.get(&address),
            IpAddr::V6(_) => None,
        };
        edge.map_or(0, |edge| edge.opened.saturating_sub(edge.open))
    }
}

// === impl Counter ===

impl Counter {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl ClientStats ===

impl ClientStats {
    /// The numbers now.
    #[must_use]
    pub fn totals(&self) -> ClientTotals {
        let edges: BTreeMap<_, _> =
            lock(&self.edges).iter().map(|(address, edge)| (*address, edge.totals())).collect();
        let responses_ok = self.responses_ok.get();
        let failed = self.failed.get();
        let micros = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        ClientTotals {
            requests: responses_ok + failed,
            responses_ok,
            failed,
            unsent: self.unsent.get(),
            connections_opened: edges.values().map(|edge| edge.opened).sum(),
            connections_open: edges.values().map(|edge| edge.open).sum(),
            closes_seen: self.closes_seen.get(),
            idle_closes: self.idle_closes.get(),
            connections_lost: self.connections_lost.get(),
            connect_errors: self.connect_errors.get(),
            latency_p50_us: self.latency.quantile(0.5).map(micros),
            latency_p99_us: self.latency.quantile(0.99).map(micros),
            edges,
            failures: lock(&self.failures).clone(),
        }
    }

    /// What went wrong since this was last asked for, in words; forgets it.
    #[must_use]
    pub fn take_failures(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.failures))
    }

    /// The most requests that were in flight at once on each edge since this was last asked for;
    /// begins anew with those that are.
    #[must_use]
    pub fn take_most_in_flight(&self) -> BTreeMap<Ipv4Addr, u64> {
        let edges = lock(&self.edges);
        edges.iter().map(|(address, edge)| (*address, edge.take_most_in_flight())).collect()
    }

    /// Latencies of complete responses, from handing over the request to the end of the body.
    #[must_use]
    pub fn latency(&self) -> &LatencyHistogram {
        &self.latency
    }

    pub(super) fn connection_opened(self: &Arc<Self>, address: Ipv4Addr) -> EdgeConnection {
        let edge = Arc::clone(lock(&self.edges).entry(address).or_default());
        edge.opened.add_one();
        edge.open.fetch_add(1, Ordering::Relaxed);
        EdgeConnection { stats: Arc::clone(self), edge, address }
    }

    pub(super) fn connect_failed(&self, what: &str) {
        self.connect_errors.add_one();
        self.note(format!("connect: {what}"));
    }

    fn note(&self, failure: String) {
        let mut failures = lock(&self.failures);
        if failures.len() < FAILURES_KEPT {
            failures.push(failure);
        }
    }
}

// === impl EdgeStats ===

impl EdgeStats {
    fn totals(&self) -> EdgeTotals {
        EdgeTotals {
            open: self.open.load(Ordering::Relaxed),
            opened: self.opened.get(),
            requests: self.requests.get(),
            failed: self.failed.get(),
        }
    }

    fn take_most_in_flight(&self) -> u64 {
        let now = self.in_flight.load(Ordering::Relaxed);
        self.most_in_flight.swap(now, Ordering::Relaxed)
    }
}

// === impl InFlight ===

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl EdgeConnection ===

impl EdgeConnection {
    pub(super) fn request_sent(&self) -> InFlight<'_> {
        let in_flight = 1 + self.edge.in_flight.fetch_add(1, Ordering::Relaxed);
        self.edge.most_in_flight.fetch_max(in_flight, Ordering::Relaxed);
        InFlight(&self.edge)
    }

    pub(super) fn response_ok(&self, latency: Duration) {
        self.edge.requests.add_one();
        self.stats.responses_ok.add_one();
        self.stats.latency.record(latency);
    }

    pub(super) fn request_failed(&self, what: &str) {
        self.edge.requests.add_one();
        self.edge.failed.add_one();
        self.stats.failed.add_one();
        self.stats.note(format!("request to {}: {what}", self.address));
    }

    pub(super) fn lost(&self, what: &str) {
        self.stats.connections_lost.add_one();
        self.stats.note(format!("connection to {}: {what}", self.address));
    }
}

impl Drop for EdgeConnection {
    fn drop(&mut self) {
        self.edge.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_flight_at_most_is_told_once() {
        let (stats, edge) = (Arc::new(ClientStats::default()), Ipv4Addr::LOCALHOST);
        let connection = stats.connection_opened(edge);
        let (one, two) = (connection.request_sent(), connection.request_sent());
        drop(one);
        let most = || stats.take_most_in_flight()[&edge];
        assert_eq!((most(), most()), (2, 1));
        drop(two);
        assert_eq!((most(), most()), (1, 0));
    }
}
