//! The connection role: one downstream connection, in front of the HTTP connection manager.
//!
//! It lets all bytes pass as they are but those that begin a response on a connection whose
//! close was asked for.

use std::rc::Rc;
use std::time::Duration;

use proxy_host::{
    BufferType, Status, close_downstream, get_buffer, set_buffer, set_effective_context,
};
use proxy_wasm::traits::{Context, StreamContext};
use proxy_wasm::types::{Action, PeerType};
use redistribution::connections::{Connection, Protocol, Stage};
use redistribution::http1::{Announcement, announce_close};
use redistribution::http2::{FRAME_HEADER_BYTES, GOAWAY, takes_goaway_in_front};

use crate::http_role::connection_id;
use crate::vm::Vm;

/// Bytes of a write in which the end of a response's head is looked for. A longer head is left
/// as it is, and the close begins with the next response.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The context of a connection.
pub(crate) struct ConnectionRole {
    /// Absent where the filter was never configured: bytes pass as if it were not there.
    vm: Option<Rc<Vm>>,
    context: u32,
    connection: Option<Rc<Connection>>,
}

// === impl ConnectionRole ===

impl ConnectionRole {
    pub fn new(vm: Option<Rc<Vm>>, context: u32) -> Self {
        Self { vm, context, connection: None }
    }

    fn forget(&mut self) {
        if let (Some(vm), Some(connection)) = (&self.vm, self.connection.take()) {
            if matches!(connection.stage(), Stage::Asked | Stage::Announcing(_)) {
                vm.counters.closes_lapsed.add(1);
            }
            vm.connections.borrow_mut().closed(connection.id());
        }
    }
}

impl Context for ConnectionRole {}

impl StreamContext for ConnectionRole {
    fn on_new_connection(&mut self) -> Action {
        if let Some(vm) = &self.vm {
            match connection_id() {
                Ok(id) => {
                    let mut connections = vm.connections.borrow_mut();
                    self.connection = Some(connections.opened(id, self.context, vm.now.get()));
                }
                Err(_) => vm.counters.host_errors.add(1),
            }
        }
        Action::Continue
    }

    fn on_downstream_data(&mut self, _: usize, _: bool) -> Action {
        if let (Some(vm), Some(connection)) = (&self.vm, &self.connection) {
            connection.bytes_received(vm.now.get());
        }
        Action::Continue
    }

    fn on_upstream_data(&mut self, size: usize, _: bool) -> Action {
        if let (Some(vm), Some(connection)) = (&self.vm, &self.connection)
            && let Stage::Announcing(protocol) = connection.stage()
            && size > 0
        {
            let announced = match protocol {
                Protocol::Http1 => announce_http1(vm, connection, size),
                Protocol::Http2 => announce_http2(vm, connection, size),
            };
            if announced.is_err() {
                vm.counters.host_errors.add(1);
            }
        }
        Action::Continue
    }

    fn on_downstream_close(&mut self, _: PeerType) {
        self.forget();
    }
}

impl Drop for ConnectionRole {
    fn drop(&mut self) {
        self.forget();
    }
}

fn announce_http1(vm: &Vm, connection: &Rc<Connection>, size: usize) -> Result<(), Status> {
    let write = get_buffer(BufferType::UpstreamData, 0, size.min(MAX_HEAD_BYTES))?;
    match announce_close(&write) {
        Announcement::Rewrite { replace, with } => {
            set_buffer(BufferType::UpstreamData, replace, &with)?;
            told(vm, connection);
            vm.counters.closes_announced_http1.add(1);
        }
        Announcement::AlreadyThere => {
            told(vm, connection);
            vm.counters.closes_announced_http1.add(1);
        }
        Announcement::Upgrade => {
            connection.leave_alone();
            vm.counters.closes_left_upgraded.add(1);
        }
        Announcement::Interim => {}
        Announcement::NotAHead => {
            // What follows may be a body that looks like a head: not before the next response.
            connection.defer();
            vm.counters.announcements_deferred.add(1);
        }
    }
    Ok(())
}

fn announce_http2(vm: &Vm, connection: &Rc<Connection>, size: usize) -> Result<(), Status> {
    let at_boundary = takes_goaway_in_front(size, |offset| {
        get_buffer(BufferType::UpstreamData, offset, FRAME_HEADER_BYTES).ok()?.try_into().ok()
    });
    if at_boundary {
        set_buffer(BufferType::UpstreamData, 0, &GOAWAY)?;
        told(vm, connection);
        vm.counters.closes_announced_http2.add(1);
    } else {
        vm.counters.announcements_deferred.add(1);
    }
    Ok(())
}

fn told(vm: &Vm, connection: &Rc<Connection>) {
    connection.told(vm.now.get());
    vm.draining.borrow_mut().push(Rc::clone(connection));
}

/// Closes connections whose clients were told and stay on without a request. Called from the
/// tick of the root context `root`.
pub(crate) fn close_drained(vm: &Vm, drain_timeout: Duration, root: u32) {
    let now = vm.now.get();
    let mut drained = Vec::new();
    vm.draining.borrow_mut().retain(|connection| {
        let done = connection.is_drained(drain_timeout, now);
        if done {
            drained.push(Rc::clone(connection));
        }
        // Contexts hold the other references: without them the connection is gone.
        !done && Rc::strong_count(connection) > 1
    });
    // Closing calls back into this VM: nothing of it may be borrowed here.
    for connection in &drained {
        if let Some(context) = connection.role()
            && Rc::strong_count(connection) > 1
        {
            let closed = set_effective_context(context).and_then(|()| close_downstream());
            if closed.is_ok() {
                vm.counters.connections_closed.add(1);
            } else {
                vm.counters.host_errors.add(1);
            }
        }
    }
    if !drained.is_empty() && set_effective_context(root).is_err() {
        vm.counters.host_errors.add(1);
    }
}
