//! Telling an HTTP/2 client to close: GOAWAY between two other frames (RFC 9113, 6.8).
//!
//! | question | where |
//! |---|---|
//! | What is a frame, and what bytes are the ones put in? | `frame` |
//! | Where, among the bytes that leave, may a frame be put in? | `outgoing` |

mod frame;
mod outgoing;

pub use frame::{FRAME_HEADER_BYTES, GOAWAY, PING_BYTES, are_control_frames, goaway, ping};
pub use outgoing::{Lost, Outgoing, Room};
