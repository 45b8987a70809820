//! Clients by hand: they do what no library lets one do.
#![allow(
    clippy::missing_errors_doc,
    reason = "what goes wrong here fails the test, whatever it is"
)]

mod frames;
mod socket;

pub use frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, field, get,
};
pub use socket::{Answer, Socket};
