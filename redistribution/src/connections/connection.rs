//! One downstream connection, and how far it is with closing.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::estimate::Sightings;
use crate::{ConnectionId, Timestamp};

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
    farewell: Cell<Farewell>,
    native_drain: Cell<Option<NativeDrain>>,
    sightings: Cell<Sightings>,
    /// Connections of the VM whose next requests matter, this one among them.
    watched: Rc<Cell<usize>>,
}

/// How far a connection is with closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nobody asked to close it.
    Open,
    /// A close was admitted, and begins with the next response.
    Asked,
    /// The bytes of the response that go out next are to tell the client.
    Announcing {
        /// What they are.
        protocol: Protocol,
        /// When it was told first, where it was told before and goes on nevertheless.
        told: Option<Timestamp>,
    },
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

/// How far the last words to an HTTP/2 client are that was told and stays.
///
/// The last GOAWAY has to be written, and nothing but Envoy's codec can cause a write. So a PING
/// goes to the client when its last stream is over. Its answer, by which the client shows that it
/// knows of the first GOAWAY, is held back as a PING to the codec; once the connection is to be
/// closed it is let through, and the codec's answer is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Farewell {
    /// There is no PING under way.
    #[default]
    None,
    /// The client has been sent a PING.
    Asked,
    /// Its answer is held back.
    Held,
    /// It was let through: what the codec writes next makes room for the last GOAWAY.
    Due,
    /// All is said: what the client still sends is not taken any more.
    Said,
}

/// How a connection that was told comes to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is in flight, and nothing seems to come.
    Drained,
    /// The time that it may take at most is over, and something is in flight still.
    Cut,
}

/// How long a client that was told may stay.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Without a request.
    pub drain_timeout: Duration,
    /// Whatever it does; for ever where `None`.
    pub max_drain: Option<Duration>,
}

/// Envoy was asked to drain a connection.
#[derive(Clone, Copy, Debug)]
struct NativeDrain {
    at: Timestamp,
    http1: bool,
}

// === impl Connection ===

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        role: Option<u32>,
        now: Timestamp,
        watched: Rc<Cell<usize>>,
    ) -> Self {
        Self {
            id,
            opened: now,
            role,
            stage: Cell::new(Stage::Open),
            in_flight: Cell::new(0),
            active_at: Cell::new(now),
            farewell: Cell::default(),
            native_drain: Cell::default(),
            sightings: Cell::default(),
            watched,
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
            self.set_stage(Stage::Asked);
        }
        open
    }

    /// Whether it matters which of the next requests are its: the next response is to tell its client,
    /// or it may be closed once none is in flight. What Envoy drains itself needs no watching.
    fn is_watched(&self) -> bool {
        match self.stage.get() {
            Stage::Open => false,
            Stage::Asked | Stage::Announcing { .. } => true,
            Stage::Draining { .. } => self.role.is_some(),
        }
    }

    fn set_stage(&self, stage: Stage) {
        let before = usize::from(self.is_watched());
        self.stage.set(stage);
        let after = usize::from(self.is_watched());
        self.watched.set((self.watched.get() + after).saturating_sub(before));
    }

    /// One of its requests was seen, and stamped.
    pub(super) fn sighted(&self, now: Timestamp) {
        self.sightings.set(self.sightings.get().and(now));
    }

    /// When its requests were seen last.
    pub(super) fn sightings(&self) -> Sightings {
        self.sightings.get()
    }

    /// How long it has had neither a request nor bytes of one.
    pub(super) fn idle(&self, now: Timestamp) -> Duration {
        match self.in_flight.get() {
            0 => now.since(self.active_at.get()),
            _ => Duration::ZERO,
        }
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// A response is about to go out whose bytes are to tell the client.
    pub fn announce(&self, protocol: Protocol) {
        self.set_stage(Stage::Announcing { protocol, told: self.told_at() });
    }

    /// The client was told to close; true if it was not before.
    pub fn told(&self, now: Timestamp) -> bool {
        let before = self.told_at();
        self.set_stage(Stage::Draining { since: before.unwrap_or(now) });
        before.is_none()
    }

    /// This response cannot tell the client: the next one is to.
    pub fn defer(&self) {
        self.set_stage(self.told_at().map_or(Stage::Asked, |since| Stage::Draining { since }));
    }

    /// The close is given up: the connection no longer speaks HTTP, or is closing anyway.
    pub fn leave_alone(&self) {
        self.set_stage(Stage::Open);
        self.native_drain.set(None);
    }

    fn told_at(&self) -> Option<Timestamp> {
        match self.stage.get() {
            Stage::Draining { since } => Some(since),
            Stage::Announcing { told, .. } => told,
            Stage::Open | Stage::Asked => None,
        }
    }

    /// How far the last words to an HTTP/2 client are.
    #[must_use]
    pub fn farewell(&self) -> Farewell {
        self.farewell.get()
    }

    /// They are so far now.
    pub fn set_farewell(&self, farewell: Farewell) {
        self.farewell.set(farewell);
    }

    /// How a client that was told and stays may be closed now, if it may. It is [drained] where it
    /// has had the time to leave, has no request in flight, and sent nothing for a while that
    /// could be one.
    ///
    /// [drained]: Ending::Drained
    #[must_use]
    pub fn ending(&self, patience: Patience, now: Timestamp) -> Option<Ending> {
        let told = self.told_at()?;
        let idle = self.in_flight.get() == 0;
        let silent = now.since(self.active_at.get()) >= patience.drain_timeout;
        let overdue = patience.max_drain.is_some_and(|max| now.since(told) >= max);
        if idle && (overdue || (silent && now.since(told) >= patience.drain_timeout)) {
            Some(Ending::Drained)
        } else {
            overdue.then_some(Ending::Cut)
        }
    }

    /// Envoy was asked to drain it, which over HTTP/1 it does after the response in hand.
    pub fn drains_natively(&self, http1: bool, now: Timestamp) {
        self.told(now);
        self.native_drain.set(Some(NativeDrain { at: now, http1 }));
    }

    /// Whether a request that comes now shows that Envoy does not drain it, though asked to. Over
    /// HTTP/2 and later there may be requests for a while: so long as `grace`.
    #[must_use]
    pub fn should_be_gone(&self, grace: Duration, now: Timestamp) -> bool {
        self.native_drain.get().is_some_and(|drain| drain.http1 || now.since(drain.at) >= grace)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.set_stage(Stage::Open);
    }
}
