//! The downstream connections of one VM of an edge, and how far each is with closing.
//!
//! With the connection role in the filter chain, connections come and go by its word, and the
//! table is exact. Without it the HTTP role enters them when it first sees a request, and drops
//! them when it has seen none for long: `open` is then an estimate.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::{ConnectionId, Timestamp};

/// Connections entered at most by the HTTP role alone. Requests on others are stamped with an
/// age of 0, so that no node asks to close them.
pub const MAX_FIRST_SEEN: usize = 65_536;

/// A connection known by its requests only counts as open this long after the last one.
pub const OPEN_AFTER_REQUEST: Duration = Duration::from_mins(1);

/// A connection known by its requests only is forgotten this long after the last one.
pub const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// A connection, shared by whoever holds a context on it.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    opened: Timestamp,
    /// The context of the connection role that owns it, if there is one.
    role: Option<u32>,
    stage: Cell<Stage>,
    in_flight: Cell<u32>,
    active_at: Cell<Timestamp>,
}

/// How far a connection is with closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nobody asked to close it.
    Open,
    /// A close was admitted, and begins with the next response.
    Asked,
    /// The bytes of the response that go out next are to tell the client.
    Announcing(Protocol),
    /// The client was told.
    Draining {
        /// When it was.
        since: Timestamp,
    },
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// All connections of a VM.
#[derive(Debug, Default)]
pub struct Connections {
    table: BTreeMap<ConnectionId, Rc<Connection>>,
    with_role: usize,
    /// As of the last [`sweep`](Self::sweep).
    first_seen_open: usize,
}

// === impl Connection ===

impl Connection {
    fn new(id: ConnectionId, role: Option<u32>, now: Timestamp) -> Self {
        Self {
            id,
            opened: now,
            role,
            stage: Cell::new(Stage::Open),
            in_flight: Cell::new(0),
            active_at: Cell::new(now),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The context of the connection role in front of it, if there is one.
    #[must_use]
    pub fn role(&self) -> Option<u32> {
        self.role
    }

    /// How far it is with closing.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Time since it opened or was first seen.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.opened)
    }

    /// A request began.
    pub fn request_started(&self, now: Timestamp) {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
        self.active_at.set(now);
    }

    /// A request and its response are over, however they ended.
    pub fn request_finished(&self, now: Timestamp) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        self.active_at.set(now);
    }

    /// Bytes came from the client.
    pub fn bytes_received(&self, now: Timestamp) {
        self.active_at.set(now);
    }

    /// Admits a close; false if one is under way already.
    #[must_use]
    pub fn ask(&self) -> bool {
        let open = self.stage.get() == Stage::Open;
        if open {
            self.stage.set(Stage::Asked);
        }
        open
    }

    /// A response is about to go out whose bytes are to tell the client.
    pub fn announce(&self, protocol: Protocol) {
        self.stage.set(Stage::Announcing(protocol));
    }

    /// The client was told to close.
    pub fn told(&self, now: Timestamp) {
        self.stage.set(Stage::Draining { since: now });
    }

    /// This response cannot tell the client: the next one is to.
    pub fn defer(&self) {
        self.stage.set(Stage::Asked);
    }

    /// The close is given up: the connection no longer speaks HTTP, or is closing anyway.
    pub fn leave_alone(&self) {
        self.stage.set(Stage::Open);
    }

    /// Whether a client that was told and stays may be closed: it has had `drain_timeout` to
    /// leave, has no request in flight, and sent nothing for a while that could be one.
    #[must_use]
    pub fn is_drained(&self, drain_timeout: Duration, now: Timestamp) -> bool {
        match self.stage.get() {
            Stage::Draining { since } => {
                now.since(since) >= drain_timeout
                    && self.in_flight.get() == 0
                    && now.since(self.active_at.get()) >= drain_timeout
            }
            _ => false,
        }
    }
}

// === impl Connections ===

impl Connections {
    /// Enters a connection that the connection role's context `role` was made for.
    pub fn opened(&mut self, id: ConnectionId, role: u32, now: Timestamp) -> Rc<Connection> {
        let connection = Rc::new(Connection::new(id, Some(role), now));
        if self.table.insert(id, Rc::clone(&connection)).is_none_or(|old| old.role.is_none()) {
            self.with_role += 1;
        }
        connection
    }

    /// Drops a connection that is gone.
    pub fn closed(&mut self, id: ConnectionId) {
        if self.table.remove(&id).is_some_and(|old| old.role.is_some()) {
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
            if connection.role.is_some() {
                return true;
            }
            let idle = match connection.in_flight.get() {
                0 => now.since(connection.active_at.get()),
                _ => Duration::ZERO,
            };
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

    #[test]
    fn a_connection_is_drained_when_told_silent_and_without_requests() {
        let mut connections = Connections::default();
        let connection = connections.opened(0, 7, at(0));
        assert!(!connection.is_drained(SECOND, at(60)), "it was never told");
        connection.request_started(at(60));
        connection.told(at(60));
        assert!(!connection.is_drained(SECOND, at(90)), "a request is in flight");
        connection.request_finished(at(90));
        assert!(!connection.is_drained(SECOND, at(90)), "it has just had one");
        connection.bytes_received(at(91));
        assert!(!connection.is_drained(SECOND, at(91)), "another one may be coming in");
        assert!(connection.is_drained(SECOND, at(92)));
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
        assert_eq!(connections.open(), 4);
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
        assert_eq!(connections.open(), 2);
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
