//! Clients that keep their connections for hours, as the ones that Spillway is
//! for do, and that know exactly what happened to every request.
//!
//! The promise proven with them is: *not one request fails, and none is
//! retried*. So they are written to hide nothing:
//!
//! - A client holds one connection and opens the next only when that one told
//!   it to close or is lost. It resolves the name anew each time.
//! - A request is sent once. There is no code that sends a request again which
//!   may have been written, so "retried" is zero by construction.
//! - A request that the protocol library refused before anything of it was
//!   written (the connection was going away at that moment) is *unsent*: it goes
//!   out on the next connection. Every client does this; to the server it is one
//!   request.
//! - Anything else that does not end in a complete 200 with a whole body of the
//!   announced length is *failed*.
//!
//! HTTP/1 is hyper's low-level connection. HTTP/2 is the `h2` crate, which hyper
//! itself speaks HTTP/2 with, and not hyper: hyper 1.12 gives up a request that
//! it has handed to `h2` when a GOAWAY comes in before `h2` opened the stream
//! (`ClientTask::poll` in its `proto/h2/client.rs` drops `fut_ctx`), and reports
//! it like one that the server cut. Over 200 graceful closes by a hyper server at
//! full rate, 8 streams each, hyper's client lost 58 of 8,772 requests. `h2` has a
//! hole of its own, which `http2.rs` closes; these clients lose none.

mod connection;
mod exchange;
mod http2;
mod latency;
mod long_lived;
mod parcel;
mod pool;
mod resolve;
mod stats;
#[cfg(test)]
mod tests;

pub use latency::LatencyHistogram;
pub use long_lived::{LongLivedClient, Pace};
pub use parcel::ID;
pub use pool::ClientPool;
pub use resolve::Resolver;
pub use stats::{ClientStats, ClientTotals, EdgeTotals};

pub use connection::Protocol;
