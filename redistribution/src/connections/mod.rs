//! The downstream connections of one VM of an edge, and how far each is with closing.
//!
//! With the connection role in the filter chain, connections come and go by its word, and the
//! table is exact. Without it the HTTP role enters them when it first sees a request, and drops
//! them when it has seen none for long: `open` is then an estimate.
mod connection;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::{ConnectionId, Timestamp};

pub use connection::{Connection, Ending, Farewell, Patience, Protocol, Stage};

/// Connections entered at most by the HTTP role alone. Requests on others are stamped with an
/// age of 0, so that no node asks to close them.
pub const MAX_FIRST_SEEN: usize = 65_536;

/// A connection known by its requests only counts as open this long after the last one.
pub const OPEN_AFTER_REQUEST: Duration = Duration::from_mins(1);

/// A connection known by its requests only is forgotten this long after the last one.
pub const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// All connections of a VM.
#[derive(Debug, Default)]
pub struct Connections {
    table: BTreeMap<ConnectionId, Rc<Connection>>,
    with_role: usize,
    opened: u64,
    /// As of the last [`sweep`](Self::sweep).
    first_seen_open: usize,
}

// === impl Connections ===

impl Connections {
    /// Enters a connection that the connection role's context `role` was made for.
    pub fn opened(&mut self, id: ConnectionId, role: u32, now: Timestamp) -> Rc<Connection> {
        let connection = Rc::new(Connection::new(id, Some(role), now));
        self.opened += 1;
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

    /// The connection a request came on, entered if it is new and there is room.
    pub fn of_request(&mut self, id: ConnectionId, now: Timestamp) -> Option<Rc<Connection>> {
        if let Some(known) = self.table.get(&id) {
            return Some(Rc::clone(known));
        }
        if self.table.len() - self.with_role >= MAX_FIRST_SEEN {
            return None;
        }
        let connection = Rc::new(Connection::new(id, None, now));
        self.opened += 1;
        self.table.insert(id, Rc::clone(&connection));
        self.first_seen_open += 1;
        Some(connection)
    }

    /// The connection `id`, if it is known.
    #[must_use]
    pub fn get(&self, id: ConnectionId) -> Option<&Rc<Connection>> {
        self.table.get(&id)
    }

    /// Connections open.
    #[must_use]
    pub fn open(&self) -> u64 {
        (self.with_role + self.first_seen_open) as u64
    }

    /// Connections entered since the start.
    #[must_use]
    pub fn opened_in_all(&self) -> u64 {
        self.opened
    }

    /// Forgets connections known by their requests only that had none for long, and counts
    /// anew how many of them are open. Call it every second or so.
    ///
    /// Returns how many of the forgotten ones had a close pending, which lapses with them.
    pub fn sweep(&mut self, now: Timestamp) -> u64 {
        if self.table.len() == self.with_role {
            self.first_seen_open = 0;
            return 0;
        }
        let (mut open, mut lapsed) = (0, 0);
        self.table.retain(|_, connection| {
            if connection.role().is_some() {
                return true;
            }
            let idle = connection.idle(now);
            open += usize::from(idle < OPEN_AFTER_REQUEST);
            let keep = idle < FORGOTTEN_AFTER;
            lapsed += u64::from(!keep && connection.stage() == Stage::Asked);
            keep
        });
        self.first_seen_open = open;
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

    #[test]
    fn the_connection_role_makes_the_table_exact() {
        let mut connections = Connections::default();
        for id in 0..5 {
            connections.opened(id, 100, at(0));
        }
        connections.closed(2);
        connections.closed(2);
        connections.sweep(at(100_000));
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
        connections.sweep(at(59));
        assert_eq!((connections.open(), connections.opened_in_all()), (2, 2));
        connections.sweep(at(61));
        assert_eq!(connections.open(), 1);
        assert!(connections.get(2).is_some());
        connections.sweep(at(601));
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
}
