//! Telling an HTTP/2 client to close: a GOAWAY frame between two others (RFC 9113, 6.8).
//!
//! Envoy writes whole frames. A GOAWAY is put in front of a write only where its bytes show
//! that they begin at a frame boundary; otherwise the next write is tried.

/// Length of a frame header.
pub const FRAME_HEADER_BYTES: usize = 9;

/// GOAWAY with the largest stream id and `NO_ERROR`: no new streams, please; all that are open,
/// or under way when this arrives, are served to their end.
pub const GOAWAY: [u8; 17] = [
    0, 0, 8, // length
    7, // type
    0, // flags
    0, 0, 0, 0, // stream 0: the connection
    0x7f, 0xff, 0xff, 0xff, // last stream id
    0, 0, 0, 0, // NO_ERROR
];

/// Frames followed at most in one write.
const MAX_FRAMES: usize = 256;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Largest type of the extensions in use (`PRIORITY_UPDATE`).
const LARGEST_TYPE: u8 = 16;

const FLAG_ACK: u8 = 1;

/// Whether a GOAWAY can go in front of a write of `len` bytes.
///
/// `read` returns the frame header at an offset of the write. That the write begins at a frame
/// boundary is taken as shown if it is a whole number of frames as RFC 9113 allows them. It must
/// not begin with a CONTINUATION, which has to follow its HEADERS at once, nor with the server's
/// first SETTINGS, which has to come before all else.
///
/// A write that begins at a boundary is never misjudged. One that begins within a frame is taken
/// for frames only if its bytes spell out a chain of them that ends exactly with the write; Envoy
/// does not write like that, and no body can make it.
#[must_use]
pub fn takes_goaway_in_front(
    len: usize,
    mut read: impl FnMut(usize) -> Option<[u8; FRAME_HEADER_BYTES]>,
) -> bool {
    let mut offset = 0;
    for _ in 0..MAX_FRAMES {
        let Some([l2, l1, l0, kind, flags, s3, s2, s1, s0]) = read(offset) else {
            return false;
        };
        let ack = flags & FLAG_ACK != 0;
        if offset == 0 && (kind == CONTINUATION || (kind == SETTINGS && !ack)) {
            return false;
        }
        let payload = u32::from_be_bytes([0, l2, l1, l0]);
        if !is_frame(kind, ack, u32::from_be_bytes([s3, s2, s1, s0]), payload) {
            return false;
        }
        offset = offset.saturating_add(FRAME_HEADER_BYTES + payload as usize);
        if offset >= len {
            return offset == len;
        }
    }
    false
}

/// Whether RFC 9113, section 6, allows a frame of `kind` with that stream and payload length.
fn is_frame(kind: u8, ack: bool, stream: u32, payload: u32) -> bool {
    let on_connection = stream == 0;
    let reserved_bit = stream >> 31 != 0;
    let fits = match kind {
        DATA | HEADERS | PUSH_PROMISE | CONTINUATION => !on_connection,
        PRIORITY => !on_connection && payload == 5,
        RST_STREAM => !on_connection && payload == 4,
        SETTINGS => on_connection && if ack { payload == 0 } else { payload.is_multiple_of(6) },
        PING => on_connection && payload == 8,
        GO_AWAY => on_connection && payload >= 8,
        WINDOW_UPDATE => payload == 4,
        _ => kind <= LARGEST_TYPE,
    };
    fits && !reserved_bit
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn takes(write: &[u8]) -> bool {
        takes_goaway_in_front(write.len(), |offset| {
            write.get(offset..offset + FRAME_HEADER_BYTES)?.try_into().ok()
        })
    }

    #[test]
    fn whole_frames_take_a_goaway() {
        assert!(takes(&frame(1, 4, 1, b"headers")));
        assert!(takes(&[frame(1, 4, 1, b"headers"), frame(0, 1, 1, &[7; 9000])].concat()));
        assert!(takes(&frame(SETTINGS, FLAG_ACK, 0, b"")));
        assert!(takes(&GOAWAY));
    }

    #[test]
    fn what_is_not_whole_frames_does_not() {
        let frames = [frame(1, 4, 1, b"headers"), frame(0, 1, 1, b"body")].concat();
        for cut in 1..frames.len() {
            let (front, back) = frames.split_at(cut);
            let boundary = cut == FRAME_HEADER_BYTES + 7;
            assert_eq!(takes(front), boundary, "front of {cut}");
            assert_eq!(takes(back), boundary, "back of {cut}");
        }
        assert!(!takes(b""));
        assert!(!takes(b"HTTP/1.1 200 OK\r\n\r\n"));
    }

    #[test]
    fn a_header_block_is_not_torn_and_the_preface_stays_first() {
        assert!(!takes(&frame(CONTINUATION, 4, 1, b"rest")));
        assert!(!takes(&[frame(SETTINGS, 0, 0, b""), frame(1, 4, 1, b"x")].concat()));
    }

    #[test]
    fn implausible_frames_are_refused() {
        assert!(!takes(&frame(99, 0, 1, b"")));
        assert!(!takes(&frame(0, 0, 0x8000_0001, b"")));
        assert!(!takes(&frame(DATA, 0, 0, b"on no stream")));
        assert!(!takes(&frame(PING, 0, 0, b"7 bytes")));
        assert!(!takes(&frame(SETTINGS, FLAG_ACK, 0, b"123456")));
        assert!(!takes(&frame(WINDOW_UPDATE, 0, 1, b"12345")));
        assert!(takes(&frame(PING, 1, 0, b"12345678").repeat(MAX_FRAMES)));
        assert!(!takes(&frame(PING, 1, 0, b"12345678").repeat(MAX_FRAMES + 1)));
    }

    #[test]
    fn the_zeros_of_a_body_are_no_empty_frames() {
        for len in 1..100 {
            assert!(!takes(&vec![0; len]), "{len}");
        }
    }
}
