//! The HTTP roles: one request and its response.

use std::rc::Rc;
use std::time::Duration;

use proxy_host::{MapType, Status, get_header, get_property, remove_header, set_property};
use redistribution::ConnectionId;
use redistribution::connections::{Connection, Protocol, Stage};
use redistribution::wire::{CLOSE_HEADER, MAX_INTEGER, STAMP_HEADER};

use crate::edge::{Edge, leave_unstamped};
use crate::vm::Vm;

/// Filter state that asks the Lua filter for native drain: `wasm.spillway_close` over there.
const NATIVE_DRAIN: &[u8] = b"spillway_close";

/// Filter state for access logs: how the response in hand tells its client to close.
const TOLD: &[u8] = b"spillway_told";

/// The context of a request.
pub(crate) struct HttpRole {
    /// Absent where the filter was never configured: the request passes as if it were not there.
    place: Option<Rc<Place>>,
    request: Request,
    was_stamped: bool,
}

/// What is known of the request in hand.
enum Request {
    /// There is none, or it is none of ours.
    None,
    /// It has no stamp, and its connection was not asked for.
    Unresolved {
        /// It could become a tunnel.
        has_body: bool,
    },
    /// It is in flight on its connection, if that is known.
    Resolved { connection: Option<Rc<Connection>>, tunnel: Tunnel },
}

/// Whether the method is CONNECT.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    No,
    Yes,
    /// With the response there is no way to ask for it any more.
    Unknown,
}

/// Where the filter stands, and what it has to do there.
pub(crate) struct Place {
    pub vm: Rc<Vm>,
    pub edge: Option<Rc<Edge>>,
    /// Not in the role `responses`, which only takes close requests off: its streams are those to
    /// the upstream.
    pub has_requests: bool,
    pub drain_timeout: Duration,
}

/// What a response says of its connection.
enum Client {
    Speaks(Protocol),
    /// HTTP/3, or whatever comes after it.
    SpeaksAnother,
    /// The connection becomes something else than HTTP.
    Upgrades,
    /// It may do so.
    MayUpgrade,
}

// === impl HttpRole ===

impl HttpRole {
    pub fn new(place: Option<Rc<Place>>) -> Self {
        Self { place, request: Request::None, was_stamped: false }
    }

    pub fn on_request_headers(&mut self, end_of_stream: bool) {
        let Some(place) = &self.place else {
            return;
        };
        let Some(edge) = &place.edge else {
            return;
        };
        if !place.has_requests {
            self.was_stamped = get_header(MapType::RequestHeaders, STAMP_HEADER).is_ok();
            return;
        }
        let vm = &place.vm;
        let has_body = !end_of_stream;
        self.was_stamped = edge.count_request();
        let done = if self.was_stamped {
            let id = connection_id();
            let connection =
                id.ok().and_then(|id| vm.connections.borrow_mut().of_request(id, vm.now.get()));
            let stamped = edge.stamp(id.unwrap_or(0), connection.as_deref());
            self.request = place.enter_request(connection, has_body);
            stamped
        } else {
            self.request = if vm.watches() {
                place.enter_request(place.connection(), has_body)
            } else {
                vm.unresolved.set(vm.unresolved.get().saturating_add(1));
                Request::Unresolved { has_body }
            };
            leave_unstamped()
        };
        if done.is_err() {
            vm.counters.host_errors.add(1);
        }
    }

    pub fn on_response_headers(&mut self) {
        let Some(place) = self.place.clone() else {
            return;
        };
        // Nodes ask only on responses to requests that had a stamp.
        if let Some(edge) = place.edge.as_ref().filter(|_| self.was_stamped) {
            Self::take_close_request(edge);
        }
        if place.vm.watches() {
            self.resolve();
        }
        if let Request::Resolved { connection: Some(connection), tunnel } = &self.request
            && place.tell(connection, *tunnel).is_err()
        {
            place.vm.counters.host_errors.add(1);
        }
    }

    /// Finds out which connection the request in hand came on, where that was not asked for; true if
    /// so.
    pub fn resolve(&mut self) -> bool {
        let (Some(place), Request::Unresolved { has_body }) = (&self.place, &self.request) else {
            return false;
        };
        let tunnel = if *has_body { Tunnel::Unknown } else { Tunnel::No };
        let connection = place.connection();
        if let Some(connection) = &connection {
            connection.request_started(place.vm.now.get());
        }
        let before = std::mem::replace(&mut self.request, Request::Resolved { connection, tunnel });
        before.over(&place.vm);
        true
    }

    /// Whether its connection was not asked for.
    pub fn is_unresolved(&self) -> bool {
        matches!(self.request, Request::Unresolved { .. })
    }

    /// It is in the place of the connection role.
    pub fn is_misplaced(&self) {
        if let Some(place) = &self.place {
            place.vm.misplaced();
        }
    }

    /// Takes off what a node asks for, and does it.
    fn take_close_request(edge: &Edge) {
        match get_header(MapType::ResponseHeaders, CLOSE_HEADER) {
            Ok(header) => {
                if remove_header(MapType::ResponseHeaders, CLOSE_HEADER).is_err() {
                    edge.vm.counters.host_errors.add(1);
                }
                edge.on_close_request(&header);
            }
            Err(Status::NotFound) => {}
            Err(_) => edge.vm.counters.host_errors.add(1),
        }
    }
}

impl Drop for HttpRole {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            std::mem::replace(&mut self.request, Request::None).over(&place.vm);
        }
    }
}

// === impl Request ===

impl Request {
    /// The request is no longer what it was.
    fn over(self, vm: &Vm) {
        match self {
            Self::None | Self::Resolved { connection: None, .. } => {}
            Self::Unresolved { .. } => vm.unresolved.set(vm.unresolved.get().saturating_sub(1)),
            Self::Resolved { connection: Some(connection), .. } => {
                connection.request_finished(vm.now.get());
            }
        }
    }
}

// === impl Place ===

impl Place {
    /// The connection of the request in hand, if it is known.
    fn connection(&self) -> Option<Rc<Connection>> {
        let Ok(id) = connection_id() else {
            self.vm.counters.host_errors.add(1);
            return None;
        };
        self.vm.connections.borrow().get(id).map(Rc::clone)
    }

    /// The request in hand is in flight on this connection.
    fn enter_request(&self, connection: Option<Rc<Connection>>, has_body: bool) -> Request {
        let now = self.vm.now.get();
        if let Some(connection) = &connection {
            if connection.should_be_gone(2 * self.drain_timeout, now) {
                self.vm.miss_drain(connection);
            }
            connection.request_started(now);
        }
        // A tunnel has no end yet.
        let is_tunnel = has_body
            && get_header(MapType::RequestHeaders, ":method").is_ok_and(|m| m == b"CONNECT");
        let tunnel = if is_tunnel { Tunnel::Yes } else { Tunnel::No };
        Request::Resolved { connection, tunnel }
    }

    /// Has the response in hand tell the client, where its connection is to be closed.
    fn tell(&self, connection: &Connection, tunnel: Tunnel) -> Result<(), Status> {
        match connection.stage() {
            Stage::Asked => self.begin_close(connection, tunnel)?,
            // One who was told over HTTP/1 and goes on is told again with every response.
            Stage::Draining { .. } if connection.role().is_some() => match client(tunnel)? {
                Client::Upgrades => self.leave_upgraded(connection),
                Client::Speaks(Protocol::Http1) => {
                    connection.announce(Protocol::Http1);
                    set_property(TOLD, b"http1_again")?;
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn begin_close(&self, connection: &Connection, tunnel: Tunnel) -> Result<(), Status> {
        let vm = &self.vm;
        match (client(tunnel)?, connection.role()) {
            (Client::Upgrades, _) => self.leave_upgraded(connection),
            // The next response is to tell.
            (Client::MayUpgrade, _) => vm.counters.announcements_deferred.add(1),
            (Client::Speaks(protocol), Some(_)) => {
                connection.announce(protocol);
                set_property(TOLD, way(protocol))?;
            }
            (client, _) => {
                set_property(NATIVE_DRAIN, b"1")?;
                let http1 = matches!(client, Client::Speaks(Protocol::Http1));
                connection.drains_natively(http1, vm.now.get());
                vm.counters.closes_native_drain.add(1);
                set_property(TOLD, b"native_drain")?;
            }
        }
        Ok(())
    }

    fn leave_upgraded(&self, connection: &Connection) {
        connection.leave_alone();
        self.vm.counters.closes_left_upgraded.add(1);
    }
}

fn way(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http1 => b"http1",
        Protocol::Http2 => b"http2",
    }
}

/// Envoy's `connection.id` of the stream or connection in hand.
pub(crate) fn connection_id() -> Result<ConnectionId, Status> {
    let bytes = get_property(b"connection\0id")?;
    let id = bytes.try_into().map(ConnectionId::from_le_bytes).map_err(|_| Status::BadArgument)?;
    // Over QUIC it fills all 64 bits, of which a stamp can carry fewer.
    Ok(id % (MAX_INTEGER + 1))
}

/// Asked only where a connection is to be closed.
fn client(tunnel: Tunnel) -> Result<Client, Status> {
    let protocol = get_property(b"request\0protocol")?;
    Ok(match protocol.as_slice() {
        b"HTTP/1.0" | b"HTTP/1.1" => {
            let switches = get_header(MapType::ResponseHeaders, ":status")? == b"101";
            match tunnel {
                _ if switches => Client::Upgrades,
                Tunnel::Yes => Client::Upgrades,
                Tunnel::Unknown => Client::MayUpgrade,
                Tunnel::No => Client::Speaks(Protocol::Http1),
            }
        }
        // A tunnel is one stream among others here, and goes on after a GOAWAY.
        b"HTTP/2" => Client::Speaks(Protocol::Http2),
        _ => Client::SpeaksAnother,
    })
}
