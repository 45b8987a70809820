//! Connections of clients, and the bytes on them.

use arbitrary::Result;
use redistribution::http1::{Announcement, announce_close};
use redistribution::http2::{PING_BYTES, ping};

use super::bytes::{frame, opaque_of, without_ours};
use super::{Edge, MANY, Role, all_well};
use crate::host::{self, CONTINUE, PAUSE, Stream, call};

/// A client's connection.
pub struct Connection {
    /// The context of the connection role's filter, where there is one.
    pub context: Option<u32>,
    pub id: u64,
    pub http2: bool,
    /// What the codec has written so far over HTTP/2, and what has left.
    written: Vec<u8>,
    pub left: Vec<u8>,
}

// === impl Edge ===

impl Edge<'_, '_> {
    pub(super) fn connect(&mut self) -> Result<()> {
        if self.connections.len() >= MANY {
            return Ok(());
        }
        let http2 = self.data.arbitrary()?;
        let root = self.root_of(&[Role::Connection])?;
        let id = self.next_connection;
        self.next_connection += 1;
        let context = root.map(|(root, _)| {
            let context = self.context();
            let stream = Stream { connection: id.to_le_bytes().to_vec(), ..Stream::default() };
            host::with(|host| host.streams.insert(context, stream));
            call(context, |module| (module.context_create)(context, root));
            let action = call(context, |module| (module.edge().new_connection)(context));
            assert_eq!(action, CONTINUE, "a connection is never held up");
            context
        });
        let (written, left) = (Vec::new(), Vec::new());
        self.connections.push(Connection { context, id, http2, written, left });
        Ok(())
    }

    /// The client goes, with all that it had under way.
    pub(super) fn disconnect(&mut self) -> Result<()> {
        if let Some(index) = self.any_connection()? {
            self.gone(index);
        }
        Ok(())
    }

    /// The connection is over.
    pub(super) fn gone(&mut self, index: usize) {
        let connection = self.connections.remove(index);
        let (over, others) =
            self.requests.drain(..).partition(|request| request.connection == connection.id);
        self.requests = others;
        for request in over {
            Self::delete(request.context);
        }
        if let Some(context) = connection.context {
            call(context, |module| (module.edge().downstream_connection_close)(context, 2));
            Self::delete(context);
        }
        if connection.http2 && all_well() {
            assert_eq!(without_ours(&connection.left), without_ours(&connection.written));
        }
    }

    /// Those that the filter has closed are gone.
    pub(super) fn see_closed(&mut self) {
        let closed = |connection: &Connection| {
            let context = connection.context?;
            host::with(|host| host.streams.get(&context).map(|stream| stream.closed))
        };
        while let Some(index) = self.connections.iter().position(|one| closed(one) == Some(true)) {
            self.gone(index);
        }
    }

    pub(super) fn delete(context: u32) {
        call(context, |module| (module.delete)(context));
        host::with(|host| host.streams.remove(&context));
    }

    pub(super) fn any_connection(&mut self) -> Result<Option<usize>> {
        match self.connections.len() {
            0 => Ok(None),
            some => self.data.choose_index(some).map(Some),
        }
    }

    /// The id of a connection that is there, or that is not.
    pub(super) fn named_connection(&mut self) -> Result<u64> {
        match self.any_connection()? {
            Some(index) if self.data.ratio(7, 8)? => Ok(self.connections[index].id),
            _ => Ok(u64::from(self.data.arbitrary::<u8>()?)),
        }
    }

    /// Bytes come from a client.
    pub(super) fn read(&mut self) -> Result<()> {
        let Some(index) = self.any_connection()? else { return Ok(()) };
        let opaque = opaque_of(&self.connections[index].left);
        let sent = match (self.data.arbitrary::<u8>()? % 8, opaque) {
            (0..=3, Some(opaque)) => ping(opaque, true).to_vec(),
            (4, Some(opaque)) => [ping(opaque, true), ping(opaque, true)].concat(),
            (5, _) => frame(8, 0, 0, &[0, 0, 0, 1]),
            (6, _) => frame(1, 5, self.data.arbitrary::<u8>()?.into(), b"headers"),
            _ => self.bytes(40)?,
        };
        let end = self.data.ratio(1, 16)?;
        self.sends(index, &sent, end);
        Ok(())
    }

    /// A client sends bytes.
    pub(super) fn sends(&mut self, index: usize, sent: &[u8], end: bool) {
        let Some(context) = self.connections[index].context else { return };
        let (size, resumed) = host::with(|host| {
            let stream = host.streams.entry(context).or_default();
            stream.downstream.extend_from_slice(sent);
            (stream.downstream.len(), !stream.let_through.is_empty())
        });
        let opaque = opaque_of(&self.connections[index].left);
        let action = call(context, |module| (module.edge().downstream_data)(context, size, end));
        let there = host::with(|host| {
            let stream = host.streams.entry(context).or_default();
            match action {
                CONTINUE => std::mem::take(&mut stream.downstream),
                _ => stream.downstream.clone(),
            }
        });
        let well = all_well();
        if !self.orderly {
            return;
        }
        match action {
            CONTINUE if resumed => assert!(!well || there.is_empty(), "after the last words"),
            CONTINUE => assert!(!well || there == sent, "passed on as it is"),
            PAUSE if resumed => assert!(there.is_empty(), "after the last words"),
            PAUSE => {
                let opaque = opaque.expect("only the answer to a PING is held back");
                assert_eq!(there, ping(opaque, false));
                assert!(sent.ends_with(&ping(opaque, true)) && sent.len() == PING_BYTES);
            }
            other => panic!("{other} is no action"),
        }
    }

    /// Bytes leave for a client: over HTTP/2 whole frames, in whatever pieces.
    pub(super) fn writes(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let Some(context) = self.connections[index].context else { return Ok(()) };
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = match self.data.arbitrary::<u8>()? {
                0..=31 => usize::from(self.data.arbitrary::<u8>()?).clamp(1, rest.len()),
                _ => rest.len(),
            };
            let (write, more) = rest.split_at(len);
            let left = written(context, write);
            let connection = &mut self.connections[index];
            if connection.http2 {
                connection.written.extend_from_slice(write);
                connection.left.extend_from_slice(&left);
            } else if all_well() {
                assert!(
                    left == write || self.named.contains(&connection.id),
                    "nobody has asked for a close"
                );
                assert!(left == write || left == with_close(write), "{}", left.escape_ascii());
            }
            rest = more;
        }
        Ok(())
    }
}

/// What leaves where the codec writes these bytes.
pub fn written(context: u32, write: &[u8]) -> Vec<u8> {
    host::with(|host| host.streams.entry(context).or_default().upstream = write.to_vec());
    let size = write.len();
    let action = call(context, |module| (module.edge().upstream_data)(context, size, false));
    assert_eq!(action, CONTINUE, "what leaves for a client is never held up");
    host::with(|host| std::mem::take(&mut host.streams.entry(context).or_default().upstream))
}

fn with_close(write: &[u8]) -> Vec<u8> {
    match announce_close(write) {
        Announcement::Rewrite { replace, mut with } => {
            with.extend_from_slice(&write[replace..]);
            with
        }
        _ => write.to_vec(),
    }
}
