//! HTTP/2 frames as far as closing has to do with them (RFC 9113, section 6).

/// Length of a frame header.
pub const FRAME_HEADER_BYTES: usize = 9;

/// Length of a PING frame.
pub const PING_BYTES: usize = 17;

/// GOAWAY with the largest stream id and `NO_ERROR`: no new streams, please; all that are open,
/// or under way when this arrives, are served to their end.
pub const GOAWAY: [u8; 17] = goaway(0x7fff_ffff);

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// Largest type of the extensions in use (`PRIORITY_UPDATE`).
const LARGEST_TYPE: u8 = 16;

const FLAG_ACK: u8 = 1;
const FLAG_END_STREAM: u8 = 1;
const FLAG_END_HEADERS: u8 = 4;

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub payload: usize,
    pub kind: u8,
    flags: u8,
    pub stream: u32,
}

/// GOAWAY with `NO_ERROR`, naming the last stream that the server has taken.
#[must_use]
pub const fn goaway(last_stream: u32) -> [u8; 17] {
    let [s3, s2, s1, s0] = last_stream.to_be_bytes();
    // Length, type, flags, stream 0 (the connection), last stream id, NO_ERROR.
    [0, 0, 8, GO_AWAY, 0, 0, 0, 0, 0, s3, s2, s1, s0, 0, 0, 0, 0]
}

/// PING with these opaque bytes, or the answer to it.
#[must_use]
pub const fn ping(opaque: u64, ack: bool) -> [u8; PING_BYTES] {
    let [o7, o6, o5, o4, o3, o2, o1, o0] = opaque.to_be_bytes();
    [0, 0, 8, PING, if ack { FLAG_ACK } else { 0 }, 0, 0, 0, 0, o7, o6, o5, o4, o3, o2, o1, o0]
}

/// Whether these bytes are whole frames that have to do with the connection and not with any
/// request: a client that sends nothing else asks for nothing.
#[must_use]
pub fn are_control_frames(mut bytes: &[u8]) -> bool {
    let empty = bytes.is_empty();
    while let Some((header, behind)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let header = Header::read(*header);
        let control = matches!(header.kind, PRIORITY | SETTINGS | PING | GO_AWAY | WINDOW_UPDATE);
        match behind.get(header.payload..) {
            Some(rest) if control && header.is_plausible() => bytes = rest,
            _ => return false,
        }
    }
    bytes.is_empty() && !empty
}

// === impl Header ===

impl Header {
    pub fn read(bytes: [u8; FRAME_HEADER_BYTES]) -> Self {
        let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = bytes;
        Self {
            payload: u32::from_be_bytes([0, l2, l1, l0]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s3, s2, s1, s0]),
        }
    }

    /// Whether it opens a header block that CONTINUATION frames have to follow at once.
    pub fn leaves_block_open(self) -> bool {
        matches!(self.kind, HEADERS | PUSH_PROMISE | CONTINUATION)
            && self.flags & FLAG_END_HEADERS == 0
    }

    /// Whether the stream is over, as far as its sender is concerned, once this frame is sent.
    pub fn ends_stream(self) -> bool {
        match self.kind {
            DATA | HEADERS => self.flags & FLAG_END_STREAM != 0,
            RST_STREAM => true,
            _ => false,
        }
    }

    /// Whether it is the SETTINGS frame that a connection begins with, or one like it.
    pub fn is_plain_settings(self) -> bool {
        self.kind == SETTINGS && self.flags & FLAG_ACK == 0
    }

    /// Whether RFC 9113, section 6, allows such a frame.
    pub fn is_plausible(self) -> bool {
        let ack = self.flags & FLAG_ACK != 0;
        let on_connection = self.stream == 0;
        let reserved_bit = self.stream >> 31 != 0;
        let fits = match self.kind {
            DATA | HEADERS | PUSH_PROMISE | CONTINUATION => !on_connection,
            PRIORITY => !on_connection && self.payload == 5,
            RST_STREAM => !on_connection && self.payload == 4,
            SETTINGS => {
                on_connection
                    && if ack { self.payload == 0 } else { self.payload.is_multiple_of(6) }
            }
            PING => on_connection && self.payload == 8,
            GO_AWAY => on_connection && self.payload >= 8,
            WINDOW_UPDATE => self.payload == 4,
            kind => kind <= LARGEST_TYPE,
        };
        fits && !reserved_bit
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn header(payload: u8, kind: u8, flags: u8, stream: u32) -> Header {
        let [s3, s2, s1, s0] = stream.to_be_bytes();
        Header::read([0, 0, payload, kind, flags, s3, s2, s1, s0])
    }

    #[test]
    fn what_the_rfc_does_not_allow_is_no_frame() {
        assert!(!header(0, 99, 0, 1).is_plausible());
        assert!(!header(0, DATA, 0, 0x8000_0001).is_plausible());
        assert!(!header(12, DATA, 0, 0).is_plausible(), "on no stream");
        assert!(!header(7, PING, 0, 0).is_plausible());
        assert!(!header(6, SETTINGS, FLAG_ACK, 0).is_plausible());
        assert!(!header(5, WINDOW_UPDATE, 0, 1).is_plausible());
        assert!(header(8, PING, FLAG_ACK, 0).is_plausible());
        assert!(header(0, DATA, 1, 1).is_plausible());
    }

    #[test]
    fn what_is_put_in_are_frames() {
        for bytes in [GOAWAY, goaway(5), ping(7, false), ping(7, true)] {
            assert!(are_control_frames(&bytes), "{bytes:?}");
        }
        assert_eq!(GOAWAY[9..13], [0x7f, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn only_whole_frames_of_the_connection_are_control_frames() {
        let two = [ping(1, false), ping(2, true)].concat();
        assert!(are_control_frames(&two));
        for cut in (1..two.len()).filter(|cut| *cut != PING_BYTES) {
            assert!(!are_control_frames(&two[..cut]), "{cut}");
        }
        assert!(!are_control_frames(b""));
        assert!(!are_control_frames(&[0, 0, 0, HEADERS, 5, 0, 0, 0, 1]));
    }
}
