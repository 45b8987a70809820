//! The connection role: one downstream connection, in front of the HTTP connection manager.
//!
//! It lets all bytes pass as they are but those that begin a response on a connection whose
//! close was asked for.

use std::rc::Rc;

use proxy_host::{
    Action, BufferType, Status, Streams, close_downstream, get_buffer, resume_downstream,
    set_buffer, set_effective_context,
};
use redistribution::connections::{Connection, Ending, Farewell, Patience, Protocol, Stage};
use redistribution::http1::{Announcement, announce_close};

use crate::http_role::connection_id;
use crate::http2_close::Http2Close;
use crate::stream::Stream;
use crate::vm::Vm;

/// Bytes of a write in which the end of a response's head is looked for. A longer head is left
/// as it is, and the close begins with the next response.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Requests whose connections are asked for in one tick at most: some 0.3 ms.
const RESOLVED_PER_TICK: usize = 256;

/// The context of a connection.
pub(crate) struct ConnectionRole {
    vm: Rc<Vm>,
    context: u32,
    connection: Option<Rc<Connection>>,
    /// Over HTTP/2, once a close is pending.
    http2: Option<Http2Close>,
}

// === impl ConnectionRole ===

impl ConnectionRole {
    pub fn new(vm: Rc<Vm>, context: u32) -> Self {
        Self { vm, context, connection: None, http2: None }
    }

    pub fn on_new_connection(&mut self) {
        let vm = &self.vm;
        vm.miss_http_role();
        match connection_id() {
            Ok(id) => {
                let mut connections = vm.connections.borrow_mut();
                self.connection = Some(connections.opened(id, self.context, vm.now.get()));
            }
            Err(_) => vm.counters.host_errors.add(1),
        }
    }

    pub fn on_downstream_data(&mut self, size: usize, end_of_stream: bool) -> Action {
        let (vm, Some(connection)) = (&self.vm, &self.connection) else {
            return Action::Continue;
        };
        let Some(http2) = &mut self.http2 else {
            connection.bytes_received(vm.now.get());
            return Action::Continue;
        };
        http2.received(vm, connection, size, end_of_stream).unwrap_or_else(|_| {
            vm.counters.host_errors.add(1);
            Action::Continue
        })
    }

    pub fn on_upstream_data(&mut self, size: usize) {
        let (vm, Some(connection)) = (&self.vm, &self.connection) else {
            return;
        };
        if size == 0 {
            return;
        }
        let written = match (connection.stage(), &mut self.http2) {
            (Stage::Announcing { protocol: Protocol::Http1, .. }, _) => {
                announce_http1(vm, connection, size)
            }
            (Stage::Announcing { protocol: Protocol::Http2, .. }, http2) => {
                http2.get_or_insert_default().written(vm, connection, size)
            }
            (Stage::Draining { .. }, Some(http2)) => http2.written(vm, connection, size),
            _ => Ok(()),
        };
        if written.is_err() {
            vm.counters.host_errors.add(1);
        }
    }

    /// The connection is gone.
    pub fn forget(&mut self) {
        if let Some(connection) = self.connection.take() {
            let vm = &self.vm;
            if matches!(connection.stage(), Stage::Asked | Stage::Announcing { told: None, .. }) {
                vm.counters.closes_lapsed.add(1);
            }
            vm.connections.borrow_mut().closed(connection.id());
        }
    }

    /// It is in the place of the HTTP role.
    pub fn is_misplaced(&self) {
        self.vm.misplaced();
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
            told_http1(vm, connection);
        }
        Announcement::AlreadyThere => told_http1(vm, connection),
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

fn told_http1(vm: &Vm, connection: &Rc<Connection>) {
    if told(vm, connection) {
        vm.counters.closes_announced_http1.add(1);
    }
}

/// The client was told; true if it was not before.
pub(crate) fn told(vm: &Vm, connection: &Rc<Connection>) -> bool {
    let first = connection.told(vm.now.get());
    if first {
        vm.draining.borrow_mut().push(Rc::clone(connection));
    }
    first
}

/// Closes connections whose clients were told and stay on. Called from the tick of the root
/// context `root`.
///
/// While any client is told the connection of each new request is asked for. What was in flight before
/// that, without a stamp, may be on any of them: where something is to be closed it is found out first.
pub(crate) fn close_drained(vm: &Vm, patience: Patience, root: u32, streams: &Streams<Stream>) {
    let now = vm.now.get();
    let all_known = vm.unresolved.get() == 0;
    let mut ending = Vec::new();
    vm.draining.borrow_mut().retain(|connection| {
        // Contexts hold the other references: without them the connection is gone.
        if Rc::strong_count(connection) == 1 {
            return false;
        }
        let Some(how) = connection.ending(patience, now) else {
            return true;
        };
        ending.push((Rc::clone(connection), how));
        // It is gone once all is flushed, which may take a while: it is not closed again then.
        !all_known || has_last_words(connection, how)
    });
    if ending.is_empty() {
        return;
    }
    if all_known {
        close_all(vm, &ending);
    } else {
        resolve_requests(streams);
    }
    if set_effective_context(root).is_err() {
        vm.counters.host_errors.add(1);
    }
}

/// Asks for the connections of requests in flight that are not known, a part of them at a time.
fn resolve_requests(streams: &Streams<Stream>) {
    let mut left = RESOLVED_PER_TICK;
    streams.visit(|context, stream| {
        if let Stream::Http(role) = stream
            && role.is_unresolved()
        {
            // Where that fails nothing more is known of it than before.
            let _ = set_effective_context(context);
            role.resolve();
            left -= 1;
        }
        left > 0
    });
}

/// Calls back into this VM: nothing of it may be borrowed.
fn close_all(vm: &Vm, ending: &[(Rc<Connection>, Ending)]) {
    for (connection, how) in ending {
        // The close of another may have ended it.
        let there = vm.connections.borrow().get(connection.id()).is_some();
        if let Some(context) = connection.role().filter(|_| there)
            && close(vm, connection, context, *how).is_err()
        {
            vm.counters.host_errors.add(1);
        }
    }
}

/// Whether the last GOAWAY can be written before the close.
fn has_last_words(connection: &Connection, how: Ending) -> bool {
    how == Ending::Drained && connection.farewell() == Farewell::Held
}

/// Closes a connection, or lets through what its last GOAWAY waits for and leaves the close to
/// the next tick.
fn close(vm: &Vm, connection: &Connection, context: u32, how: Ending) -> Result<(), Status> {
    set_effective_context(context)?;
    if has_last_words(connection, how) {
        connection.set_farewell(Farewell::Due);
        return resume_downstream();
    }
    let counter = match how {
        Ending::Drained => &vm.counters.connections_closed,
        Ending::Cut => &vm.counters.connections_cut,
    };
    close_downstream()?;
    counter.add(1);
    Ok(())
}
