//! The downstream connections of one VM of an edge, and how far each is with closing.
//!
//! With the connection role in the filter chain, connections come and go by its word, and the
//! table is exact. Without it the HTTP role enters them when it first looks at a request, and drops
//! them when it has seen none for long: `open` is then an estimate.
mod connection;
mod estimate;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::rc::Rc;
use std::time::Duration;

use self::estimate::Estimate;
use crate::{ConnectionId, Timestamp};

pub use connection::{Connection, Ending, Farewell, Patience, Protocol, Stage};

/// Connections entered at most by the HTTP role alone. Requests on others are stamped with an
/// age of 0, so that no node asks to close them.
pub const MAX_FIRST_SEEN: usize = 65_536;

/// A connection known by its requests only counts as open this long after the last one. A close that
/// it has still to be told of by then lapses.
pub const OPEN_AFTER_REQUEST: Duration = Duration::from_mins(1);

/// A connection known by its requests only is forgotten this long after the last one.
pub const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// A [`sweep`](Connections::sweep) looks at one in so many connections, so that none takes long.
const SWEEPS: usize = 10;

/// All connections of a VM.
#[derive(Debug, Default)]
pub struct Connections {
    table: BTreeMap<ConnectionId, Rc<Connection>>,
    with_role: usize,
    opened: u64,
    /// As of the last time that all were looked at, and those that were entered since.
    first_seen_open: u64,
    /// What the sweeps have counted since, up to the connection `swept_up_to`.
    counted: Estimate,
    swept_up_to: Option<ConnectionId>,
    /// When a request was last not looked at.
    overlooked_at: Option<Timestamp>,
    watched: Rc<Cell<usize>>,
}

// === impl Connections ===

impl Connections {
    /// Enters a connection that the connection role's context `role` was made for.
    pub fn opened(&mut self, id: ConnectionId, role: u32, now: Timestamp) -> Rc<Connection> {
        let connection = self.enter(id, Some(role), now);
        if self.table.insert(id, Rc::clone(&connection)).is_none_or(|old| old.role().is_none()) {
            self.with_role += 1;
        }
        connection
    }

    /// Drops a connection that is gone.
    pub fn closed(&mut self, id: ConnectionId) {
        if self.table.remove(&id).is_some_and(|old| old.role().is_some()) {
            self.with_role -= 1;
        }
    }

    /// The connection of a request that is stamped, entered if it is new and there is room.
    pub fn of_request(&mut self, id: ConnectionId, now: Timestamp) -> Option<Rc<Connection>> {
        if let Some(known) = self.table.get(&id) {
            known.sighted(now);
            return Some(Rc::clone(known));
        }
        if self.table.len() - self.with_role >= MAX_FIRST_SEEN {
            return None;
        }
        let connection = self.enter(id, None, now);
        connection.sighted(now);
        self.table.insert(id, Rc::clone(&connection));
        self.first_seen_open += 1;
        Some(connection)
    }

    fn enter(&mut self, id: ConnectionId, role: Option<u32>, now: Timestamp) -> Rc<Connection> {
        self.opened += 1;
        Rc::new(Connection::new(id, role, now, Rc::clone(&self.watched)))
    }

    /// Takes in that there are requests that are not looked at.
    pub fn overlook(&mut self, now: Timestamp) {
        self.overlooked_at = Some(now);
    }

    /// The connection `id`, if it is known.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&Rc<Connection>> {
        self.table.get(&id)
    }

    /// Whether it matters which connections the next requests come on: closes are under way.
    #[must_use]
    pub fn are_watched(&self) -> bool {
        self.watched.get() > 0
    }

    /// Connections open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.with_role as u64 + self.first_seen_open
    }

    /// Connections entered since the start.
    #[must_use]
    pub fn opened_in_all(&self) -> u64 {
        self.opened
    }

    /// Looks at some of the connections that are known by their requests only: forgets those that
    /// had none for long, and counts those that are open. Call it every tenth of a second or so.
    ///
    /// Returns how many of them had a close pending, which lapses.
    pub fn sweep(&mut self, now: Timestamp) -> u64 {
        if self.table.len() == self.with_role {
            (self.first_seen_open, self.swept_up_to) = (0, None);
            return 0;
        }
        let from = self.swept_up_to.map_or(Unbounded, Excluded);
        let most = self.table.len().div_ceil(SWEEPS).max(SWEEPS);
        let (mut lapsed, mut forgotten, mut looked_at) = (0, Vec::new(), 0);
        for (id, connection) in self.table.range((from, Unbounded)).take(most) {
            looked_at += 1;
            self.swept_up_to = Some(*id);
            if connection.role().is_some() {
                continue;
            }
            let idle = connection.idle(now);
            if idle < OPEN_AFTER_REQUEST {
                self.counted.count(connection.sightings(), now);
                continue;
            }
            if connection.stage() == Stage::Asked {
                connection.leave_alone();
                lapsed += 1;
            }
            if idle >= FORGOTTEN_AFTER {
                forgotten.push(*id);
            }
        }
        for id in forgotten {
            self.table.remove(&id);
        }
        if looked_at < most {
            let looked_at_all =
                self.overlooked_at.is_none_or(|at| now.since(at) >= OPEN_AFTER_REQUEST);
            self.first_seen_open = std::mem::take(&mut self.counted).open(looked_at_all);
            self.swept_up_to = None;
        }
        lapsed
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_close_goes_through_its_stages_once() {
        let mut connections = Connections::default();
        let connection = connections.opened(0, 7, at(0));
        assert_eq!(connection.stage(), Stage::Open);
        assert!(connection.ask());
        assert!(!connection.ask());
        connection.announce(Protocol::Http2);
        assert!(!connection.ask());
        connection.told(at(3));
        assert_eq!(connection.stage(), Stage::Draining { since: at(3) });
        assert!(!connection.ask());
    }

    const PATIENCE: Patience = Patience { drain_timeout: SECOND, max_drain: None };

    #[test]
    fn a_connection_is_drained_when_told_silent_and_without_requests() {
        let mut connections = Connections::default();
        let connection = connections.opened(0, 7, at(0));
        assert_eq!(connection.ending(PATIENCE, at(60)), None, "it was never told");
        connection.request_started(at(60));
        assert!(connection.told(at(60)));
        assert_eq!(connection.ending(PATIENCE, at(90)), None, "a request is in flight");
        connection.request_finished(at(90));
        assert_eq!(connection.ending(PATIENCE, at(90)), None, "it has just had one");
        connection.bytes_received(at(91));
        assert_eq!(connection.ending(PATIENCE, at(91)), None, "another one may be coming in");
        assert_eq!(connection.ending(PATIENCE, at(92)), Some(Ending::Drained));
    }

    #[test]
    fn a_request_in_flight_is_cut_only_by_max_drain() {
        let mut connections = Connections::default();
        let connection = connections.opened(0, 7, at(0));
        connection.request_started(at(0));
        connection.told(at(10));
        connection.announce(Protocol::Http1);
        assert!(!connection.told(at(15)), "it was told before");
        assert_eq!(connection.ending(PATIENCE, at(36_000)), None);
        let patience = Patience { max_drain: Some(9 * SECOND), ..PATIENCE };
        assert_eq!(connection.ending(patience, at(18)), None);
        assert_eq!(connection.ending(patience, at(19)), Some(Ending::Cut));
        connection.request_finished(at(19));
        assert_eq!(connection.ending(patience, at(19)), Some(Ending::Drained));
    }

    #[test]
    fn a_request_shows_that_a_native_drain_did_not_happen() {
        let mut connections = Connections::default();
        let connection = connections.of_request(0, at(0)).unwrap();
        assert!(!connection.should_be_gone(SECOND, at(9)));
        connection.drains_natively(false, at(9));
        assert!(!connection.should_be_gone(SECOND, at(9)), "HTTP/2 takes its time");
        assert!(connection.should_be_gone(SECOND, at(10)));
        connection.leave_alone();
        assert!(!connection.should_be_gone(SECOND, at(99)));
        connection.drains_natively(true, at(99));
        assert!(connection.should_be_gone(SECOND, at(99)), "HTTP/1 closes after the response");
    }

    /// As often as it takes to look at all of them once.
    fn sweep_all(connections: &mut Connections, now: Timestamp) -> u64 {
        (0..=SWEEPS).map(|_| connections.sweep(now)).sum()
    }

    #[test]
    fn the_connection_role_makes_the_table_exact() {
        let mut connections = Connections::default();
        for id in 0..5 {
            connections.opened(id, 100, at(0));
        }
        connections.closed(2);
        connections.closed(2);
        sweep_all(&mut connections, at(100_000));
        assert_eq!((connections.open(), connections.opened_in_all()), (4, 5));
        let seen = connections.of_request(3, at(9)).unwrap();
        assert_eq!((seen.role(), seen.age(at(9))), (Some(100), 9 * SECOND));
    }

    #[test]
    fn without_it_connections_are_known_by_their_requests() {
        let mut connections = Connections::default();
        let busy = connections.of_request(1, at(0)).unwrap();
        connections.of_request(2, at(0)).unwrap();
        busy.request_started(at(1));
        sweep_all(&mut connections, at(59));
        assert_eq!((connections.open(), connections.opened_in_all()), (2, 2));
        sweep_all(&mut connections, at(61));
        assert_eq!(connections.open(), 1);
        assert!(connections.get(2).is_some());
        sweep_all(&mut connections, at(601));
        assert!(connections.get(2).is_none());
        assert!(connections.get(1).is_some(), "its request is still in flight");
    }

    #[test]
    fn the_table_of_first_seen_connections_is_bounded() {
        let mut connections = Connections::default();
        for id in 0..MAX_FIRST_SEEN as u64 {
            assert!(connections.of_request(id, at(0)).is_some());
        }
        assert!(connections.of_request(u64::MAX, at(0)).is_none());
        connections.opened(u64::MAX, 1, at(0));
        assert!(connections.of_request(u64::MAX, at(0)).is_some());
    }

    #[test]
    fn a_close_that_nobody_can_be_told_of_lapses() {
        let mut connections = Connections::default();
        let connection = connections.of_request(1, at(0)).unwrap();
        assert!(connection.ask() && connections.are_watched());
        assert_eq!(sweep_all(&mut connections, at(59)), 0);
        assert_eq!(sweep_all(&mut connections, at(61)), 1);
        assert!(!connections.are_watched());
        assert_eq!(connection.stage(), Stage::Open);
    }

    #[test]
    fn requests_are_watched_while_a_close_is_under_way() {
        let mut connections = Connections::default();
        let [first, second] = [0, 1].map(|id| connections.opened(id, 7, at(0)));
        assert!(!connections.are_watched());
        assert!(first.ask() && second.ask());
        first.announce(Protocol::Http1);
        first.told(at(1));
        second.leave_alone();
        assert!(connections.are_watched(), "the first one drains");
        connections.closed(0);
        drop(first);
        assert!(!connections.are_watched());
        let native = connections.of_request(2, at(0)).unwrap();
        assert!(native.ask());
        native.drains_natively(false, at(1));
        assert!(!connections.are_watched(), "Envoy does it");
    }

    #[test]
    fn connections_that_are_seldom_looked_at_are_counted_nevertheless() {
        // A request of each in two seconds, of which one in forty is looked at, in random order.
        const CONNECTIONS: u64 = 2_000;
        let mut connections = Connections::default();
        let mut random = fastrand::Rng::with_seed(3);
        for tenth in 0..900 {
            let now = Timestamp::from_nanos(tenth * 100_000_000);
            connections.overlook(now);
            for _ in 0..CONNECTIONS / 20 {
                if random.u64(0..40) == 0 {
                    let id = random.u64(0..CONNECTIONS);
                    let connection = connections.of_request(id, now).unwrap();
                    connection.request_started(now);
                    connection.request_finished(now);
                }
            }
            connections.sweep(now);
        }
        let seen = connections.table.values().filter(|c| c.idle(at(90)) < OPEN_AFTER_REQUEST);
        let (seen, open) = (seen.count(), connections.open());
        assert!(seen < 1_200, "{seen} were seen: this shows nothing");
        assert!((1_800..=2_200).contains(&open), "{open} of {CONNECTIONS}, {seen} seen");
    }
}
