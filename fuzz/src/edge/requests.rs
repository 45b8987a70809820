//! Requests, their responses, and what nodes ask for.

use arbitrary::Result;
use redistribution::VmToken;
use redistribution::wire::{CLOSE_HEADER, CloseRequest, NamedConnection, STAMP_HEADER, Stamp};

use super::bytes::frame;
use super::{Edge, ID, MANY, Role, all_well};
use crate::host::{self, CONTINUE, Headers, Stream, call};

/// A request whose response may come.
pub struct Request {
    pub context: u32,
    pub connection: u64,
    role: Role,
    stream: u32,
}

/// What clients say in the name of an edge.
const FORGED: &[u8] = b"id=\"forged\", vm=a, seq=1, conn=1";

// === impl Edge ===

impl Edge<'_, '_> {
    pub(super) fn request(&mut self) -> Result<()> {
        let Some(index) = self.any_connection()? else { return Ok(()) };
        if self.requests.len() >= MANY {
            return Ok(());
        }
        let Some((root, role)) = self.root_of(&[Role::Http, Role::Responses])? else {
            return Ok(());
        };
        let how: u8 = self.data.arbitrary()?;
        let connection = &self.connections[index];
        let protocol: &[u8] = match (connection.http2, how & 3) {
            (false, 0) => b"HTTP/1.0",
            (false, _) => b"HTTP/1.1",
            (true, 0) if connection.context.is_none() => b"HTTP/3",
            (true, _) => b"HTTP/2",
        };
        let method = if how & 0x1c == 4 { "CONNECT" } else { "GET" };
        let mut request: Headers = vec![(b":method".into(), method.into())];
        request.extend((0..(how >> 5) & 3).map(|_| (STAMP_HEADER.into(), FORGED.to_vec())));
        let id = connection.id;
        let context = self.context();
        let stream = Stream {
            connection: id.to_le_bytes().to_vec(),
            protocol: protocol.to_vec(),
            request,
            ..Stream::default()
        };
        host::with(|host| host.streams.insert(context, stream));
        call(context, |module| (module.context_create)(context, root));
        let end = how & 128 == 0;
        let action = call(context, |module| (module.request_headers)(context, 1, end));
        assert_eq!(action, CONTINUE, "a request is never held up");
        self.requests.push(Request { context, connection: id, role, stream: 2 * context + 1 });
        self.see_stamp(context, role);
        Ok(())
    }

    /// The first stamp of a request is the edge's own.
    fn see_stamp(&mut self, context: u32, role: Role) {
        let stamp = host::with(|host| {
            let headers = &host.streams.get(&context)?.request;
            let stamp = headers.iter().find(|(name, _)| name == STAMP_HEADER.as_bytes())?;
            Some(stamp.1.clone())
        });
        let Some(stamp) = stamp else { return };
        if stamp == FORGED {
            let stamps = self.orderly && role == Role::Http && all_well();
            assert!(!stamps, "a client's stamp goes on");
            return;
        }
        let stamp = Stamp::parse(&stamp).expect("what an edge writes can be read");
        assert!(stamp.id == ID || !self.orderly);
        self.token = stamp.position.map(|position| position.vm);
    }

    /// A response comes, perhaps with a close request.
    pub(super) fn respond(&mut self) -> Result<()> {
        if self.requests.is_empty() {
            return Ok(());
        }
        let index = self.data.choose_index(self.requests.len())?;
        let &Request { context, connection, role, stream } = &self.requests[index];
        let how: u8 = self.data.arbitrary()?;
        let close = match how & 7 {
            0..=3 => Some(self.close_request(connection)?),
            4 => Some(self.bytes(60)?),
            _ => None,
        };
        let upgrade = how & 0xf8 == 8;
        let status: &[u8] = if upgrade { b"101" } else { b"200" };
        let mut response: Headers = vec![(b":status".into(), status.into())];
        if let Some(close) = &close {
            self.note_asked(close);
            response.extend((0..=(how >> 6)).map(|_| (CLOSE_HEADER.into(), close.clone())));
        }
        host::with(|host| host.streams.entry(context).or_default().response = response);
        let action = call(context, |module| (module.response_headers)(context, 1, false));
        assert_eq!(action, CONTINUE, "a response is never held up");
        let (close_is_there, stamped) = host::with(|host| {
            let stream = host.streams.entry(context).or_default();
            let has = |headers: &Headers, wanted: &str| {
                headers.iter().any(|(name, _)| name == wanted.as_bytes())
            };
            (has(&stream.response, CLOSE_HEADER), has(&stream.request, STAMP_HEADER))
        });
        // Nodes ask where there was a stamp.
        let takes_off = stamped && role != Role::Connection && self.orderly && all_well();
        assert!(!(close_is_there && takes_off), "no client sees {CLOSE_HEADER}");
        let at = self.connections.iter().position(|one| one.id == connection);
        match at {
            Some(at) => self.write_response(at, stream, upgrade),
            None => Ok(()),
        }
    }

    fn write_response(&mut self, at: usize, stream: u32, upgrade: bool) -> Result<()> {
        let http2 = self.connections[at].http2;
        let how: u8 = self.data.arbitrary()?;
        let mut bytes = Vec::new();
        if http2 {
            if how & 64 != 0 {
                bytes.extend(frame(4, 0, 0, &[]));
            }
            let end_headers = if how.is_multiple_of(4) { 0 } else { 4 };
            bytes.extend(frame(1, end_headers | (how >> 2) & 1, stream, b"a block"));
            if end_headers == 0 {
                bytes.extend(frame(9, 4, stream, b"and its rest"));
            }
            if how & 8 != 0 {
                bytes.extend(frame(0, (how >> 4) & 1, stream, &[how; 20]));
            }
        } else if upgrade {
            bytes.extend(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n");
        } else {
            if how & 1 != 0 {
                bytes.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            bytes.extend(b"HTTP/1.1 200 OK\r\n");
            if how & 2 != 0 {
                bytes.extend(b"connection: keep-alive\r\n");
            }
            bytes.extend(b"server: envoy\r\n\r\nbody");
        }
        self.writes(at, &bytes)
    }

    /// More of a response leaves, or something that has to do with none.
    pub(super) fn write_more(&mut self) -> Result<()> {
        let Some(at) = self.any_connection()? else { return Ok(()) };
        let bytes = if self.connections[at].http2 {
            let how: u8 = self.data.arbitrary()?;
            let stream = u32::from(how | 1);
            match how & 6 {
                0 => frame(8, 0, 0, &[0, 0, 1, 0]),
                2 => frame(3, 0, stream, &[0, 0, 0, 8]),
                _ => frame(0, (how >> 3) & 1, stream, &[how; 30]),
            }
        } else {
            self.bytes(40)?
        };
        self.writes(at, &bytes)
    }

    /// A request is over, whether it had a response or not.
    pub(super) fn end_request(&mut self) -> Result<()> {
        if !self.requests.is_empty() {
            let index = self.data.choose_index(self.requests.len())?;
            Self::delete(self.requests.remove(index).context);
        }
        Ok(())
    }

    /// A close request as a node may write it, `own` being the connection of its response.
    fn close_request(&mut self, own: u64) -> Result<Vec<u8>> {
        let lb = if self.data.ratio(15, 16)? { ID } else { "edge-2" };
        let count = self.data.int_in_range(1..=3)?;
        let mut connections = Vec::new();
        for n in 0..count {
            let id = if n == 0 && self.data.arbitrary()? { own } else { self.named_connection()? };
            let vm = match (self.data.arbitrary::<u8>()?, self.token) {
                (0..224, Some(token)) => token,
                (other, _) => VmToken::from_random(other.into()),
            };
            connections.push(NamedConnection { id, vm });
        }
        Ok(CloseRequest { lb: lb.into(), connections }.to_header().into_bytes())
    }

    fn note_asked(&mut self, close: &[u8]) {
        let Ok(request) = CloseRequest::parse(close) else { return };
        self.named.extend(request.connections.iter().map(|named| named.id));
    }
}
