//! Graceful for every protocol, client and Envoy: nothing is ever lost to a close.
//!
//! Each test names a case, plays it on real Envoys, and shows that all of it came to its end and
//! that the connection was closed. The clients are curl, nghttp, hyper and the `h2` crate; sockets
//! used by hand stand in only where no client does what the case is about.

mod http1;
mod http2;
mod in_a_row;
mod puppet;
mod responses;
mod roles;
mod sampled;
mod support;
mod upgrades;
