//! Following the frames that leave for a client, to find where one more may be put in.
//!
//! Nothing is followed before a close is pending, so that it costs nothing. It begins with the
//! first write after a response's head was handed to Envoy's codec. That write begins between two
//! frames: the codec writes all of a frame before it returns, into as many writes as it likes,
//! and starts the response's HEADERS with a new one. From there on every boundary is known, in
//! whatever pieces the frames are written.
//!
//! What is read has to look like frames all the same. Where it does not, [`Lost`] says so, and
//! nothing is put in before the next response. The first boundary of all is used only once what
//! follows has borne it out: the write ends at a boundary too, or a whole frame and the header of
//! another one came by.

use super::frame::{CONTINUATION, DATA, FRAME_HEADER_BYTES, HEADERS, Header, RST_STREAM};

/// Frames followed at most in one write.
const MAX_FRAMES: usize = 256;

/// The frames of one connection since it is followed.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// What there is of a header whose other bytes come with the next write.
    header: Vec<u8>,
    /// Bytes of the current frame that are still to come.
    payload_left: usize,
    /// Between HEADERS and the end of its header block, nothing may be put in.
    in_block: bool,
    /// Whole frames so far, as far as that matters: none, or some.
    any_frame: bool,
    ended_stream: bool,
    last_stream: u32,
}

/// Where a frame may be put into a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The first place, as an offset.
    pub first: Option<usize>,
    /// Behind the last byte.
    pub at_end: bool,
}

/// These are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

// === impl Outgoing ===

impl Outgoing {
    /// Follows a write of `len` bytes; `read` returns so many bytes at an offset of it.
    ///
    /// # Errors
    /// The write does not go on with the frames as RFC 9113 allows them. Nothing is known of this
    /// connection's boundaries any more.
    pub fn follow(
        &mut self,
        len: usize,
        mut read: impl FnMut(usize, usize) -> Option<Vec<u8>>,
    ) -> Result<Room, Lost> {
        let (mut any, mut confirmed) = (None, None);
        let mut at = 0;
        for _ in 0..MAX_FRAMES {
            let step = self.payload_left.min(len - at);
            at += step;
            self.payload_left -= step;
            let missing = FRAME_HEADER_BYTES - self.header.len();
            if self.payload_left > 0 || len - at < missing {
                // The write ends here: within a payload, within a header, or between two frames.
                self.header.extend(read_some(&mut read, at, len - at)?);
                let between = self.payload_left == 0 && self.header.is_empty();
                let at_end = between && !self.in_block && self.any_frame;
                let end = at_end.then_some(len);
                let first = if between { any.or(end) } else { confirmed };
                return Ok(Room { first, at_end });
            }
            let begins_here = self.header.is_empty().then_some(at);
            self.header.extend(read_some(&mut read, at, missing)?);
            at += missing;
            let header = self.next_header()?;
            let place = begins_here.filter(|_| !self.in_block && !header.is_plain_settings());
            any = any.or(place);
            if self.any_frame {
                confirmed = any;
            }
            self.enter(header);
        }
        Err(Lost)
    }

    /// Whether a stream has ended since the last time this was asked.
    pub fn take_ended_stream(&mut self) -> bool {
        std::mem::take(&mut self.ended_stream)
    }

    /// The highest stream of the client's among these frames; 0 if there was none.
    #[must_use]
    pub fn last_stream(&self) -> u32 {
        self.last_stream
    }

    fn next_header(&mut self) -> Result<Header, Lost> {
        let bytes = std::mem::take(&mut self.header);
        let header = bytes.try_into().map(Header::read).map_err(|_| Lost)?;
        let continues = header.kind == CONTINUATION;
        if header.is_plausible() && continues == self.in_block { Ok(header) } else { Err(Lost) }
    }

    fn enter(&mut self, header: Header) {
        self.payload_left = header.payload;
        self.in_block = header.leaves_block_open();
        self.any_frame = true;
        self.ended_stream |= header.ends_stream();
        let of_client = header.stream % 2 == 1;
        if of_client && matches!(header.kind, DATA | HEADERS | RST_STREAM) {
            self.last_stream = self.last_stream.max(header.stream);
        }
    }
}

fn read_some(
    read: &mut impl FnMut(usize, usize) -> Option<Vec<u8>>,
    at: usize,
    count: usize,
) -> Result<Vec<u8>, Lost> {
    if count == 0 {
        return Ok(Vec::new());
    }
    read(at, count).filter(|bytes| bytes.len() == count).ok_or(Lost)
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::super::frame::{SETTINGS, ping};
    use super::*;

    const END_HEADERS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![len[1], len[2], len[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn follow(outgoing: &mut Outgoing, write: &[u8]) -> Result<Room, Lost> {
        outgoing.follow(write.len(), |at, count| Some(write.get(at..at + count)?.to_vec()))
    }

    fn room(write: &[u8]) -> Result<Room, Lost> {
        follow(&mut Outgoing::default(), write)
    }

    #[test]
    fn whole_frames_have_room_in_front_and_behind() {
        let head = frame(HEADERS, END_HEADERS, 1, b"headers");
        let both = [head.clone(), frame(DATA, 1, 1, &[7; 9000])].concat();
        for write in [head, both, frame(SETTINGS, 1, 0, b"")] {
            assert_eq!(room(&write), Ok(Room { first: Some(0), at_end: true }));
        }
    }

    #[test]
    fn a_frame_in_pieces_has_room_behind_its_last() {
        let head = frame(HEADERS, END_HEADERS, 1, b"headers");
        for cut in 1..head.len() {
            let mut outgoing = Outgoing::default();
            let (front, back) = head.split_at(cut);
            assert_eq!(follow(&mut outgoing, front), Ok(Room::default()), "{cut}");
            let behind = Room { first: Some(back.len()), at_end: true };
            assert_eq!(follow(&mut outgoing, back), Ok(behind), "{cut}");
        }
    }

    #[test]
    fn a_payload_that_looks_like_frames_is_a_payload_still() {
        let inner = [ping(1, false), ping(2, false)].concat();
        let outer = frame(DATA, 0, 1, &inner);
        let (header, payload) = outer.split_at(FRAME_HEADER_BYTES);
        let mut outgoing = Outgoing::default();
        assert_eq!(follow(&mut outgoing, header), Ok(Room::default()));
        let behind = Room { first: Some(payload.len()), at_end: true };
        assert_eq!(follow(&mut outgoing, payload), Ok(behind));
    }

    #[test]
    fn half_a_frame_at_the_end_does_not_hide_the_place_in_front() {
        let write = [frame(HEADERS, END_HEADERS, 1, b"x"), frame(DATA, 0, 1, &[0; 50])].concat();
        let cut = &write[..write.len() - 20];
        assert_eq!(room(cut), Ok(Room { first: Some(0), at_end: false }));
    }

    #[test]
    fn a_header_block_is_not_torn_and_the_preface_stays_first() {
        assert_eq!(room(&frame(CONTINUATION, END_HEADERS, 1, b"rest")), Err(Lost));
        let mut outgoing = Outgoing::default();
        let open = frame(HEADERS, 0, 1, b"block");
        assert_eq!(follow(&mut outgoing, &open), Ok(Room { first: Some(0), at_end: false }));
        let rest = frame(CONTINUATION, END_HEADERS, 1, b"rest");
        let behind = Room { first: Some(rest.len()), at_end: true };
        assert_eq!(follow(&mut outgoing, &rest), Ok(behind));
        let settings = frame(SETTINGS, 0, 0, b"");
        let write = [settings.clone(), frame(DATA, 0, 1, b"x")].concat();
        assert_eq!(room(&write), Ok(Room { first: Some(settings.len()), at_end: true }));
    }

    #[test]
    fn what_is_no_frame_is_lost() {
        assert_eq!(room(b"HTTP/1.1 200 OK\r\n\r\n"), Err(Lost));
        assert_eq!(room(&[0; 100]), Err(Lost), "the zeros of a body");
        let pings = ping(1, true).repeat(MAX_FRAMES);
        assert_eq!(room(&pings), Err(Lost), "more than are followed");
        assert!(room(&pings[17..]).is_ok());
    }

    #[test]
    fn it_knows_the_last_stream_and_that_one_has_ended() {
        let mut outgoing = Outgoing::default();
        follow(&mut outgoing, &frame(HEADERS, END_HEADERS, 7, b"h")).unwrap();
        assert!(!outgoing.take_ended_stream());
        follow(&mut outgoing, &frame(RST_STREAM, 0, 9, b"code")).unwrap();
        follow(&mut outgoing, &frame(DATA, 1, 7, b"")).unwrap();
        assert!(outgoing.take_ended_stream());
        assert!(!outgoing.take_ended_stream());
        assert_eq!(outgoing.last_stream(), 9);
    }
}
