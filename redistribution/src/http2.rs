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

const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const FLAG_ACK: u8 = 1;
/// Largest type of RFC 9113 and its extensions in use (`PRIORITY_UPDATE`).
const LARGEST_TYPE: u8 = 16;

/// Whether a GOAWAY can go in front of a write of `len` bytes.
///
/// `read` returns the frame header at an offset of the write. That the write begins at a frame
/// boundary is taken as shown if it is a whole number of plausible frames. It must not begin
/// with a CONTINUATION, which has to follow its HEADERS at once, nor with the server's first
/// SETTINGS, which has to come before all else.
#[must_use]
pub fn takes_goaway_in_front(
    len: usize,
    mut read: impl FnMut(usize) -> Option<[u8; FRAME_HEADER_BYTES]>,
) -> bool {
    let mut offset = 0;
    for _ in 0..MAX_FRAMES {
        let Some([l2, l1, l0, kind, flags, s3, ..]) = read(offset) else {
            return false;
        };
        let opens_connection = kind == SETTINGS && flags & FLAG_ACK == 0;
        if offset == 0 && (kind == CONTINUATION || opens_connection) {
            return false;
        }
        let reserved_bit = s3 & 0x80 != 0;
        if kind > LARGEST_TYPE || reserved_bit {
            return false;
        }
        let payload = u32::from_be_bytes([0, l2, l1, l0]) as usize;
        offset += FRAME_HEADER_BYTES + payload;
        if offset >= len {
            return offset == len;
        }
    }
    false
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
        assert!(!takes(&frame(6, 1, 0, b"").repeat(MAX_FRAMES + 1)));
    }
}
