//! The HTTP role: one request and its response.

use std::rc::Rc;
use std::time::Duration;

use proxy_host::{
    MapType, Status, get_header, get_property, remove_header, replace_header, set_property,
};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use redistribution::ConnectionId;
use redistribution::connections::{Connection, Protocol, Stage};
use redistribution::stamper::Origin;
use redistribution::wire::{CLOSE_HEADER, STAMP_HEADER};

use crate::edge::Edge;

/// Filter state that asks the Lua filter for native drain: `wasm.spillway_close` over there.
const NATIVE_DRAIN: &[u8] = b"spillway_close";

/// The context of a request.
pub(crate) struct HttpRole {
    /// Absent where the filter was never configured: the request passes as if it were not there.
    edge: Option<Rc<Edge>>,
    connection: Option<Rc<Connection>>,
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
    pub fn new(edge: Option<Rc<Edge>>) -> Self {
        Self { edge, connection: None }
    }

    fn stamp(&mut self, edge: &Edge) -> Result<(), Status> {
        let vm = &edge.vm;
        let id = connection_id();
        let now = vm.now.get();
        let mut connections = vm.connections.borrow_mut();
        let connection = id.ok().and_then(|id| connections.of_request(id, now));
        let open = connections.open();
        let origin = if let Some(connection) = &connection {
            connection.request_started(now);
            Origin { connection: connection.id(), age: connection.age(now), open }
        } else {
            vm.counters.requests_untracked.add(1);
            Origin { connection: id.unwrap_or(0), age: Duration::ZERO, open }
        };
        drop(connections);
        self.connection = connection;
        let mut stamp = String::with_capacity(128);
        edge.stamper.borrow_mut().stamp(origin, &mut stamp);
        vm.counters.requests_stamped.add(1);
        replace_header(MapType::RequestHeaders, STAMP_HEADER, stamp.as_bytes())
    }

    /// Begins the close that this connection was asked for.
    fn begin_close(edge: &Edge, connection: &Rc<Connection>) -> Result<(), Status> {
        let vm = &edge.vm;
        match (client()?, connection.role()) {
            (Client::Upgrades, _) => {
                connection.leave_alone();
                vm.counters.closes_left_upgraded.add(1);
            }
            (Client::Speaks(protocol), Some(_)) => connection.announce(protocol),
            (Client::Speaks(_) | Client::SpeaksAnother, _) => {
                set_property(NATIVE_DRAIN, b"1")?;
                connection.told(vm.now.get());
                vm.counters.closes_native_drain.add(1);
            }
        }
        Ok(())
    }
}

impl Context for HttpRole {}

impl HttpContext for HttpRole {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        if let Some(edge) = self.edge.clone()
            && self.stamp(&edge).is_err()
        {
            edge.vm.counters.host_errors.add(1);
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let Some(edge) = &self.edge else {
            return Action::Continue;
        };
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
        if let Some(connection) = &self.connection
            && connection.stage() == Stage::Asked
            && Self::begin_close(edge, connection).is_err()
        {
            edge.vm.counters.host_errors.add(1);
        }
        Action::Continue
    }
}

impl Drop for HttpRole {
    fn drop(&mut self) {
        if let (Some(edge), Some(connection)) = (&self.edge, &self.connection) {
            connection.request_finished(edge.vm.now.get());
        }
    }
}

/// Envoy's `connection.id` of the stream or connection in hand.
pub(crate) fn connection_id() -> Result<ConnectionId, Status> {
    let bytes = get_property(b"connection\0id")?;
    bytes.try_into().map(ConnectionId::from_le_bytes).map_err(|_| Status::BadArgument)
}

/// Asked only where a connection is to be closed.
fn client() -> Result<Client, Status> {
    let protocol = get_property(b"request\0protocol")?;
    Ok(match protocol.as_slice() {
        b"HTTP/1.0" | b"HTTP/1.1" => {
            let switches = get_header(MapType::ResponseHeaders, ":status")? == b"101";
            let tunnels = || get_property(b"request\0method").is_ok_and(|m| m == b"CONNECT");
            if switches || tunnels() { Client::Upgrades } else { Client::Speaks(Protocol::Http1) }
        }
        // A tunnel is one stream among others here, and goes on after a GOAWAY.
        b"HTTP/2" => Client::Speaks(Protocol::Http2),
        _ => Client::SpeaksAnother,
    })
}
