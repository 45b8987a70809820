//! HTTP/2 frames, and which of them are the filter's.

use redistribution::http2::{FRAME_HEADER_BYTES, PING_BYTES, ping};

use super::connections::written;

const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, l2, l1, l0] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![l2, l1, l0, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Whether the filter puts such frames in; the codec writes none here.
pub fn is_ours(frame: &[u8]) -> bool {
    matches!(frame.get(3), Some(&(PING | GOAWAY))) && frame.len() == PING_BYTES
}

/// The frames of `bytes`; what is left over is the last.
fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some([l2, l1, l0, ..]) = bytes.get(..FRAME_HEADER_BYTES) {
        let len = FRAME_HEADER_BYTES + u32::from_be_bytes([0, *l2, *l1, *l0]) as usize;
        let (frame, rest) = bytes.split_at(len.min(bytes.len()));
        frames.push(frame);
        bytes = rest;
    }
    frames.push(bytes);
    frames
}

/// `bytes` without what the filter has put in.
pub fn without_ours(bytes: &[u8]) -> Vec<u8> {
    frames(bytes).into_iter().filter(|frame| !is_ours(frame)).flatten().copied().collect()
}

/// What the last PING of the filter's holds.
pub fn opaque_of(left: &[u8]) -> Option<u64> {
    let mut pings =
        frames(left).into_iter().rev().filter(|frame| is_ours(frame) && frame[3] == PING);
    pings.next()?.last_chunk().copied().map(u64::from_be_bytes)
}

/// The codec takes what was held back: it answers a PING at once.
pub fn codec_answers(context: u32, held: &[u8]) {
    let well = super::all_well();
    if held.is_empty() && !well {
        return;
    }
    let opaque = held.last_chunk().copied().map(u64::from_be_bytes).expect("a PING is held");
    assert_eq!(held, ping(opaque, false));
    let answer = ping(opaque, true);
    let left = written(context, &answer);
    assert!(!well || (left.len() == PING_BYTES && left[3] == GOAWAY), "{}", left.escape_ascii());
}
