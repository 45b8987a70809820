//! The HTTP roles: one request and its response.

use std::rc::Rc;
use std::time::Duration;

use proxy_host::{MapType, Status, get_header, get_property, remove_header, set_property};
use redistribution::ConnectionId;
use redistribution::connections::{Connection, Protocol, Stage};
use redistribution::wire::{CLOSE_HEADER, MAX_INTEGER};

use crate::edge::Edge;
use crate::vm::Vm;

/// Filter state that asks the Lua filter for native drain: `wasm.spillway_close` over there.
const NATIVE_DRAIN: &[u8] = b"spillway_close";

/// Filter state for access logs: how the response in hand tells its client to close.
const TOLD: &[u8] = b"spillway_told";

/// The context of a request.
pub(crate) struct HttpRole {
    /// Absent where the filter was never configured: the request passes as if it were not there.
    place: Option<Rc<Place>>,
    connection: Option<Rc<Connection>>,
    /// The method is CONNECT.
    tunnel: bool,
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
}

// === impl HttpRole ===

impl HttpRole {
    pub fn new(place: Option<Rc<Place>>) -> Self {
        Self { place, connection: None, tunnel: false }
    }

    pub fn on_request_headers(&mut self, end_of_stream: bool) {
        let Some(place) = self.place.as_ref().filter(|place| place.has_requests) else {
            return;
        };
        let id = connection_id();
        self.connection = place.enter_request(id);
        // With the response there is no way to ask for it any more. A tunnel has no end yet.
        self.tunnel = !end_of_stream
            && get_header(MapType::RequestHeaders, ":method").is_ok_and(|m| m == b"CONNECT");
        if let Some(edge) = &place.edge
            && edge.stamp(id.unwrap_or(0), self.connection.as_deref()).is_err()
        {
            edge.vm.counters.host_errors.add(1);
        }
    }

    pub fn on_response_headers(&mut self) {
        let Some(place) = &self.place else {
            return;
        };
        if let Some(edge) = &place.edge {
            Self::take_close_request(edge);
        }
        if let Some(connection) = &self.connection
            && place.tell(connection, self.tunnel).is_err()
        {
            place.vm.counters.host_errors.add(1);
        }
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
        if let (Some(place), Some(connection)) = (&self.place, &self.connection) {
            connection.request_finished(place.vm.now.get());
        }
    }
}

// === impl Place ===

impl Place {
    /// The connection that a request came on, with the request in flight there.
    fn enter_request(&self, id: Result<ConnectionId, Status>) -> Option<Rc<Connection>> {
        let now = self.vm.now.get();
        let connection = self.vm.connections.borrow_mut().of_request(id.ok()?, now)?;
        if connection.should_be_gone(2 * self.drain_timeout, now) {
            self.vm.miss_drain(&connection);
        }
        connection.request_started(now);
        Some(connection)
    }

    /// Has the response in hand tell the client, where its connection is to be closed.
    fn tell(&self, connection: &Connection, tunnel: bool) -> Result<(), Status> {
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

    fn begin_close(&self, connection: &Connection, tunnel: bool) -> Result<(), Status> {
        let vm = &self.vm;
        match (client(tunnel)?, connection.role()) {
            (Client::Upgrades, _) => self.leave_upgraded(connection),
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
fn client(tunnel: bool) -> Result<Client, Status> {
    let protocol = get_property(b"request\0protocol")?;
    Ok(match protocol.as_slice() {
        b"HTTP/1.0" | b"HTTP/1.1" => {
            let switches = get_header(MapType::ResponseHeaders, ":status")? == b"101";
            if switches || tunnel { Client::Upgrades } else { Client::Speaks(Protocol::Http1) }
        }
        // A tunnel is one stream among others here, and goes on after a GOAWAY.
        b"HTTP/2" => Client::Speaks(Protocol::Http2),
        _ => Client::SpeaksAnother,
    })
}
