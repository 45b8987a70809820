//! `node_filter.wasm`: Spillway in the node's Envoy.
//!
//! An adapter: it hands the stamp of each request to [`redistribution::node`], and puts the
//! close request it may get back on the response. It never holds up or fails a request: where a
//! host call does not do what it should, the error is counted and the request goes on.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable
)]

mod exports;
mod http;
mod load_balancers;
mod metrics;
mod root;

use log::LevelFilter;

/// Before all else.
fn start() {
    proxy_host::log_to_host(LevelFilter::Info);
}
