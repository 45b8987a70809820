//! Where a GOAWAY may go between HTTP/2 frames, whatever the frames and however they are split.
#![cfg(not(target_family = "wasm"))]

use proptest::prelude::*;
use proptest::sample::Index;
use redistribution::http2::{FRAME_HEADER_BYTES, GOAWAY, takes_goaway_in_front};

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;

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

    /// Whether a GOAWAY must not stand in front of it.
    fn refuses(&self) -> bool {
        self.kind == CONTINUATION || (self.kind == SETTINGS && self.flags & ACK == 0)
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
        // DATA, HEADERS, PUSH_PROMISE, CONTINUATION
        6 => on_stream(&[0, 1, 5, 9], payload(0..300).boxed()),
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

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    proptest::collection::vec(frame(), 1..20)
}

fn concat(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::bytes).collect()
}

fn takes(write: &[u8]) -> bool {
    takes_goaway_in_front(write.len(), |offset| {
        write.get(offset..offset + FRAME_HEADER_BYTES)?.try_into().ok()
    })
}

/// The places between frames, the start and the end included.
fn boundaries(frames: &[Frame]) -> Vec<usize> {
    let ends = frames.iter().scan(0, |end, frame| {
        *end += frame.bytes().len();
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A write of whole frames takes a GOAWAY unless its first frame forbids it.
    #[test]
    fn whole_frames_take_a_goaway(frames in frames()) {
        prop_assert_eq!(takes(&concat(&frames)), !frames[0].refuses());
    }

    /// A write that begins between two frames is judged right wherever it ends: there are no
    /// false positives where Envoy writes frames from their starts, as it does.
    #[test]
    fn what_begins_between_frames_is_never_misjudged(frames in frames(), first in any::<Index>()) {
        let first = first.index(frames.len());
        let bytes = concat(&frames);
        let boundaries = boundaries(&frames);
        let start = boundaries[first];
        for end in start..=bytes.len() {
            let whole = end > start && boundaries.contains(&end);
            let expected = whole && !frames[first].refuses();
            prop_assert_eq!(takes(&bytes[start..end]), expected, "{}..{}", start, end);
        }
    }

    /// A write that begins within a frame is taken for whole frames only if its bytes spell out
    /// frames, by accident or design, up to its very end.
    #[test]
    fn what_begins_within_a_frame_is_taken_only_if_it_spells_out_frames(
        frames in frames(),
        start in any::<Index>(),
    ) {
        let bytes = concat(&frames);
        let start = start.index(bytes.len());
        let write = &bytes[start..];
        if takes(write) {
            let mut rest = write;
            while let Some((header, behind)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
                let payload = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
                prop_assert!(header[3] <= 16);
                rest = behind.get(payload..).expect("the whole payload");
            }
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn any_bytes_and_any_reader_are_taken(bytes in payload(0..200), len in any::<usize>()) {
        takes(&bytes);
        let _ = takes_goaway_in_front(len, |offset| bytes.get(offset..)?.first_chunk().copied());
        let _ = takes_goaway_in_front(len, |_| Some([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]));
    }

    #[test]
    fn our_own_goaway_is_a_frame_like_others(frames in frames()) {
        prop_assert!(takes(&[&GOAWAY[..], &concat(&frames)].concat()));
    }
}

/// What the check cannot tell: a write that consists of a payload which is itself whole frames.
/// Only what stands before would show it. Envoy writes a DATA frame's header and payload at once,
/// so a body cannot bring this about; if it did, the client would find a GOAWAY in its body.
#[test]
fn a_payload_written_by_itself_can_pass_for_frames() {
    let inner = Frame { kind: DATA, flags: 0, stream: 1, payload: b"x".to_vec() };
    let outer = Frame { payload: inner.bytes(), ..inner };
    let bytes = outer.bytes();
    assert!(takes(&bytes));
    assert!(takes(&bytes[FRAME_HEADER_BYTES..]));
    // One byte more or less, and it does not pass.
    assert!(!takes(&bytes[FRAME_HEADER_BYTES - 1..]));
    assert!(!takes(&bytes[FRAME_HEADER_BYTES + 1..]));
    assert!(!takes(&bytes[FRAME_HEADER_BYTES..bytes.len() - 1]));
}
