//! HTTP/2 frames on their way to a client: whatever pieces they are written in, the same is known of
//! them in the end, and a place for one more is between two of them.

use arbitrary::Unstructured;
use redistribution::http2::{FRAME_HEADER_BYTES, Lost, Outgoing, are_control_frames};

/// So many bytes at most hold fewer frames than are followed in one write.
const MAX_BYTES: usize = 255 * FRAME_HEADER_BYTES;

const SETTINGS: u8 = 4;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What is known after the last write.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    at_end: bool,
    last_stream: u32,
    ended_stream: bool,
}

/// Takes the front of `data` for the places of cuts and the rest for the frames.
///
/// # Panics
/// Where something does not hold.
pub fn check(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let Ok(cuts) = data.int_in_range(0..=7_usize) else { return };
    let Ok(pieces) = (0..cuts).map(|_| data.arbitrary::<u8>()).collect::<Result<Vec<_>, _>>()
    else {
        return;
    };
    let bytes = data.take_rest();
    let bytes = bytes.get(..MAX_BYTES).unwrap_or(bytes);
    check_control_frames(bytes);
    let whole = follow(bytes, &[bytes.len()]);
    let mut lengths: Vec<_> = pieces.into_iter().map(usize::from).filter(|len| *len > 0).collect();
    lengths.push(bytes.len());
    assert_eq!(
        follow(bytes, &lengths),
        whole,
        "in pieces of {lengths:?}: {}",
        bytes.escape_ascii()
    );
    if bytes.len() <= 64 {
        assert_eq!(follow(bytes, &[1].repeat(bytes.len())), whole, "{}", bytes.escape_ascii());
    }
}

/// Follows `bytes` in writes of these lengths.
fn follow(bytes: &[u8], lengths: &[usize]) -> Result<Known, Lost> {
    let mut outgoing = Outgoing::default();
    let (mut start, mut at_end, mut ended_stream) = (0, false, false);
    for len in lengths {
        let end = bytes.len().min(start + len);
        let write = &bytes[start..end];
        if write.is_empty() {
            break;
        }
        let room = outgoing.follow(write.len(), |at, count| {
            assert!(count > 0, "a host call for nothing");
            Some(write.get(at..at.checked_add(count)?)?.to_vec())
        })?;
        ended_stream |= outgoing.take_ended_stream();
        assert!(!outgoing.take_ended_stream());
        if let Some(place) = room.first {
            assert!(place <= write.len());
            assert!(is_room(&bytes[..end], start + place), "{place} of {}", write.escape_ascii());
        }
        if room.at_end {
            assert!(room.first.is_some());
            assert!(is_room(&bytes[..end], end), "at the end of {}", write.escape_ascii());
        }
        (start, at_end) = (end, room.at_end);
    }
    Ok(Known { at_end, last_stream: outgoing.last_stream(), ended_stream })
}

/// Whether a frame may be put in at `place`: between two frames, not within a header block, and not
/// in front of the SETTINGS that a server begins with.
fn is_room(bytes: &[u8], place: usize) -> bool {
    let (mut at, mut in_block) = (0, false);
    while at < place {
        let Some([l2, l1, l0, kind, flags, ..]) = bytes.get(at..at + FRAME_HEADER_BYTES) else {
            return false;
        };
        at += FRAME_HEADER_BYTES + u32::from_be_bytes([0, *l2, *l1, *l0]) as usize;
        // HEADERS, PUSH_PROMISE, CONTINUATION
        in_block = matches!(kind, 1 | 5 | 9) && flags & END_HEADERS == 0;
    }
    let next = bytes.get(at..at + FRAME_HEADER_BYTES);
    let settings = next.is_some_and(|next| next[3] == SETTINGS && next[4] & ACK == 0);
    at == place && !in_block && !settings
}

/// Control frames are whole frames: two of them are some too, and half of them are none.
fn check_control_frames(bytes: &[u8]) {
    if are_control_frames(bytes) {
        assert!(are_control_frames(&bytes.repeat(2)));
        assert!(!are_control_frames(&bytes[..bytes.len() - 1]));
        assert!(follow(bytes, &[bytes.len()]).is_ok(), "{}", bytes.escape_ascii());
    }
}
