//! The close of an HTTP/2 connection, in the bytes of both directions.
//!
//! First comes a GOAWAY with the largest stream id: all streams that are open or under way go on.
//! Most clients leave then by themselves. One that stays is sent the last GOAWAY, which names the
//! last stream that it got an answer on, and is closed. Sent any earlier, it would make clients give
//! up streams that are on their way to the edge, and that the edge would have served: some open a
//! stream just after they have taken notice of the first GOAWAY (the `h2` crate does). How the last
//! one is written although nothing else is, [`Farewell`] says.

use std::rc::Rc;

use proxy_host::{Action, BufferType, Status, append_buffer, get_buffer, set_buffer};
use redistribution::connections::{Connection, Farewell, Stage};
use redistribution::http2::{GOAWAY, Outgoing, PING_BYTES, are_control_frames, goaway, ping};

use crate::connection_role::told;
use crate::vm::Vm;

/// More than what a client sends at once that asks for nothing.
const MAX_CONTROL_BYTES: usize = 1024;

/// Bytes of a write in which the answer to a PING is looked for.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Http2Close {
    /// `None` once its frames cannot be followed any more.
    outgoing: Option<Outgoing>,
    /// What the PING under way holds.
    opaque: u64,
    /// A PING is due with the next write that has room.
    wants_ping: bool,
}

// === impl Http2Close ===

impl Http2Close {
    /// Bytes leave for the client.
    pub fn written(
        &mut self,
        vm: &Vm,
        connection: &Rc<Connection>,
        size: usize,
    ) -> Result<(), Status> {
        if connection.farewell() == Farewell::Due {
            return self.say_farewell(vm, connection, size);
        }
        let announcing = matches!(connection.stage(), Stage::Announcing { .. });
        if announcing && self.outgoing.is_none() {
            self.outgoing = Some(Outgoing::default());
        }
        let Some(outgoing) = &mut self.outgoing else {
            return Ok(());
        };
        let read = |offset, count| get_buffer(BufferType::UpstreamData, offset, count).ok();
        let Ok(room) = outgoing.follow(size, read) else {
            self.lost(vm, connection);
            return Ok(());
        };
        self.wants_ping |= outgoing.take_ended_stream();
        if announcing {
            let Some(place) = room.first else {
                vm.counters.announcements_deferred.add(1);
                return Ok(());
            };
            insert(place, &GOAWAY)?;
            told(vm, connection);
            vm.counters.closes_announced_http2.add(1);
        }
        // The stream that is ending here is still in flight.
        if self.wants_ping
            && room.at_end
            && connection.farewell() == Farewell::None
            && connection.in_flight() <= 1
        {
            self.opaque = getrandom::u64().unwrap_or_else(|_| vm.now.get().as_nanos());
            append_buffer(BufferType::UpstreamData, &ping(self.opaque, false))?;
            self.wants_ping = false;
            connection.set_farewell(Farewell::Asked);
        }
        Ok(())
    }

    /// Bytes came from the client.
    pub fn received(
        &mut self,
        vm: &Vm,
        connection: &Connection,
        size: usize,
        end_of_stream: bool,
    ) -> Result<Action, Status> {
        let mut size = size;
        match connection.farewell() {
            Farewell::Due | Farewell::Said => {
                set_buffer(BufferType::DownstreamData, size, &[])?;
                return Ok(if end_of_stream { Action::Continue } else { Action::Pause });
            }
            Farewell::Held => {
                // The client goes on: back to where nothing was asked.
                set_buffer(BufferType::DownstreamData, PING_BYTES, &[])?;
                size = size.saturating_sub(PING_BYTES);
                connection.set_farewell(Farewell::None);
                self.wants_ping = true;
            }
            Farewell::None | Farewell::Asked => {}
        }
        if size > MAX_CONTROL_BYTES {
            connection.bytes_received(vm.now.get());
            return Ok(Action::Continue);
        }
        let bytes = match size {
            0 => Vec::new(),
            _ => get_buffer(BufferType::DownstreamData, 0, size)?,
        };
        if connection.farewell() == Farewell::Asked {
            let answer = ping(self.opaque, true);
            if bytes == answer && connection.in_flight() == 0 && !end_of_stream {
                set_buffer(BufferType::DownstreamData, size, &ping(self.opaque, false))?;
                connection.set_farewell(Farewell::Held);
                return Ok(Action::Pause);
            }
            if find(&bytes, &answer).is_some() {
                // Envoy takes no notice of it.
                connection.set_farewell(Farewell::None);
                self.wants_ping = true;
            }
        }
        // A client that only keeps the connection alive does not keep it.
        if !bytes.is_empty() && !are_control_frames(&bytes) {
            connection.bytes_received(vm.now.get());
        }
        Ok(Action::Continue)
    }

    /// What leaves are no frames as far as can be told: nothing is put in.
    fn lost(&mut self, vm: &Vm, connection: &Connection) {
        self.outgoing = None;
        if matches!(connection.stage(), Stage::Announcing { .. }) {
            connection.defer();
            vm.counters.announcements_deferred.add(1);
        }
    }

    /// Puts the last GOAWAY in the place of the codec's answer to the PING that was let through.
    fn say_farewell(
        &mut self,
        vm: &Vm,
        connection: &Connection,
        size: usize,
    ) -> Result<(), Status> {
        let last_stream = self.outgoing.as_ref().map_or(0, Outgoing::last_stream);
        let write = get_buffer(BufferType::UpstreamData, 0, size.min(MAX_ANSWER_BYTES))?;
        let Some(place) = find(&write, &ping(self.opaque, true)) else {
            return Ok(());
        };
        let mut with = write.get(..place).unwrap_or_default().to_vec();
        with.extend_from_slice(&goaway(last_stream));
        set_buffer(BufferType::UpstreamData, place + PING_BYTES, &with)?;
        connection.set_farewell(Farewell::Said);
        vm.counters.farewells.add(1);
        Ok(())
    }
}

/// Puts `frame` into the write, `place` bytes behind its start.
fn insert(place: usize, frame: &[u8]) -> Result<(), Status> {
    let mut with = match place {
        0 => Vec::new(),
        _ => get_buffer(BufferType::UpstreamData, 0, place)?,
    };
    with.extend_from_slice(frame);
    set_buffer(BufferType::UpstreamData, place, &with)
}

fn find(bytes: &[u8], frame: &[u8]) -> Option<usize> {
    bytes.windows(frame.len()).position(|window| window == frame)
}
