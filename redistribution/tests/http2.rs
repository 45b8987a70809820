//! Where a GOAWAY goes between HTTP/2 frames, whatever the frames and however they are written.
#![cfg(not(target_family = "wasm"))]

use proptest::prelude::*;
use proptest::sample::Index;
use redistribution::http2::{FRAME_HEADER_BYTES, GOAWAY, Outgoing, Room};

const HEADERS: u8 = 1;
const PUSH_PROMISE: u8 = 5;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// A frame as RFC 9113, section 6, allows it.
#[derive(Clone, Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    fn opens_block(&self) -> bool {
        matches!(self.kind, HEADERS | PUSH_PROMISE | CONTINUATION) && self.flags & END_HEADERS == 0
    }

    fn is_plain_settings(&self) -> bool {
        self.kind == SETTINGS && self.flags & ACK == 0
    }
}

fn payload(length: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    // Zeros are what a body has long runs of, and what most fields of a frame header are.
    let byte = prop_oneof![Just(0), any::<u8>()];
    proptest::collection::vec(byte, length)
}

fn frame() -> impl Strategy<Value = Frame> {
    let stream = 1..=0x7fff_ffff_u32;
    let on_stream = |kinds: &'static [u8], payload: BoxedStrategy<Vec<u8>>| {
        (proptest::sample::select(kinds), any::<u8>(), stream.clone(), payload)
    };
    let on_connection = |kind: u8, flags: BoxedStrategy<u8>, payload: BoxedStrategy<Vec<u8>>| {
        (Just(kind), flags, Just(0), payload)
    };
    let plain = any::<u8>().prop_map(|flags| flags & !ACK).boxed();
    let settings = (0..4_usize).prop_flat_map(|count| payload(count * 6));
    prop_oneof![
        // DATA, HEADERS, PUSH_PROMISE
        6 => on_stream(&[0, 1, 5], payload(0..300).boxed()),
        1 => on_stream(&[2], payload(5).boxed()), // PRIORITY
        1 => on_stream(&[3, 8], payload(4).boxed()), // RST_STREAM, WINDOW_UPDATE
        1 => on_connection(8, plain.clone(), payload(4).boxed()),
        1 => on_connection(SETTINGS, plain.clone(), settings.boxed()),
        1 => on_connection(SETTINGS, Just(ACK).boxed(), Just(Vec::new()).boxed()),
        1 => on_connection(6, any::<u8>().boxed(), payload(8).boxed()), // PING
        1 => on_connection(7, plain, payload(8..40).boxed()), // GOAWAY
        // Extensions: ALTSVC, ORIGIN, PRIORITY_UPDATE
        1 => (proptest::sample::select(vec![10, 12, 16]), any::<u8>(), 0..9_u32, payload(0..40)),
    ]
    .prop_map(|(kind, flags, stream, payload)| Frame { kind, flags, stream, payload })
}

/// Frames in an order that RFC 9113 allows: a header block goes on with CONTINUATION until it ends.
fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let continuations = proptest::collection::vec(payload(0..60), 1..4);
    proptest::collection::vec((frame(), continuations), 1..20).prop_map(|groups| {
        let mut frames = Vec::new();
        for (first, continuations) in groups {
            let (open, stream) = (first.opens_block(), first.stream);
            frames.push(first);
            let last = continuations.len() - 1;
            for (n, payload) in continuations.into_iter().enumerate().filter(|_| open) {
                let flags = if n == last { END_HEADERS } else { 0 };
                frames.push(Frame { kind: CONTINUATION, flags, stream, payload });
            }
        }
        frames
    })
}

fn concat(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::bytes).collect()
}

/// `bytes` as so many writes, cut at these places.
fn writes(bytes: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    // Envoy makes no empty writes.
    let pieces = cuts.windows(2).map(|ends| bytes[ends[0]..ends[1]].to_vec());
    pieces.filter(|piece| !piece.is_empty()).collect()
}

fn follow(outgoing: &mut Outgoing, write: &[u8]) -> Result<Room, redistribution::http2::Lost> {
    outgoing.follow(write.len(), |at, count| Some(write.get(at..at.checked_add(count)?)?.to_vec()))
}

/// The frames that `bytes` are, each as its bytes.
fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let payload = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        let (frame, rest) = bytes.split_at(FRAME_HEADER_BYTES + payload);
        frames.push(frame.to_vec());
        bytes = rest;
    }
    frames
}

/// What the client gets, where a GOAWAY is put in at the first place there is; and whether it was.
fn with_goaway(writes: &[Vec<u8>]) -> (Vec<u8>, bool) {
    let (mut outgoing, mut sent, mut told) = (Outgoing::default(), Vec::new(), false);
    for write in writes {
        let room = follow(&mut outgoing, write).expect("these are frames");
        match room.first.filter(|_| !told) {
            Some(at) => {
                told = true;
                sent.extend([&write[..at], &GOAWAY, &write[at..]].concat());
            }
            None => sent.extend(write),
        }
    }
    (sent, told)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Half a frame, a frame in pieces, several at once: the client gets the same frames in the
    /// same order, and one GOAWAY among them, in no header block and not in front of the SETTINGS that come first.
    #[test]
    fn a_goaway_goes_between_two_frames_however_they_are_written(
        frames in frames(),
        cuts in proptest::collection::vec(any::<Index>(), 0..40),
    ) {
        let bytes = concat(&frames);
        let (sent, told) = with_goaway(&writes(&bytes, &cuts));
        prop_assert!(told, "there was room behind the last frame at the latest");
        let got = split(&sent);
        let expected: Vec<_> = frames.iter().map(Frame::bytes).collect();
        let at = (0..got.len()).find(|at| {
            let mut others = got.clone();
            others.remove(*at) == GOAWAY && others == expected
                && (*at == 0 || !frames[at - 1].opens_block())
                && (*at > 0 || !frames[0].is_plain_settings())
        });
        prop_assert!(at.is_some(), "{:?}", got);
    }

    /// Each boundary at the end of a write is found, and no other: the PING and the last GOAWAY
    /// go there.
    #[test]
    fn the_end_of_a_write_has_room_if_it_is_one_of_a_frame(
        frames in frames(),
        cuts in proptest::collection::vec(any::<Index>(), 0..40),
    ) {
        let bytes = concat(&frames);
        let (mut outgoing, mut end) = (Outgoing::default(), 0);
        let mut boundaries = std::collections::BTreeMap::new();
        let mut boundary = 0;
        for frame in &frames {
            boundary += frame.bytes().len();
            boundaries.insert(boundary, frame.opens_block());
        }
        for write in writes(&bytes, &cuts) {
            end += write.len();
            let room = follow(&mut outgoing, &write).expect("these are frames");
            prop_assert_eq!(room.at_end, boundaries.get(&end) == Some(&false), "{}", end);
        }
    }

    /// In one write of whole frames there is room in front, unless it begins with SETTINGS.
    #[test]
    fn whole_frames_take_a_goaway_in_front(frames in frames()) {
        let bytes = concat(&frames);
        let first = follow(&mut Outgoing::default(), &bytes).expect("these are frames").first;
        prop_assert_eq!(first == Some(0), !frames[0].is_plain_settings());
    }

    #[test]
    fn any_bytes_and_any_reader_are_taken(
        writes in proptest::collection::vec(payload(0..200), 0..5),
        len in any::<usize>(),
    ) {
        let mut outgoing = Outgoing::default();
        for write in &writes {
            let _ = follow(&mut outgoing, write);
            let _ = redistribution::http2::are_control_frames(write);
        }
        let _ = outgoing.follow(len, |_, count| Some(vec![0xff; count.min(9)]));
        let _ = outgoing.follow(len, |_, _| Some(vec![0, 0, 1, 0, 0, 0, 0, 0, 1]));
        let _ = outgoing.follow(len, |_, _| None);
    }
}
