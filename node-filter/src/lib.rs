//! `node_filter.wasm`: Spillway in the node's Envoy.
//!
//! An adapter: it hands the stamp of each request to [`redistribution::node`], and puts the
//! close request it may get back on the response. It never holds up or fails a request: where a
//! host call does not do what it should, the error is counted and the request goes on.

#![allow(
    missing_docs,
    reason = "a cdylib has no API to document: its only public item is made by the SDK's macro"
)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable
)]

mod http;
mod load_balancers;
mod metrics;
mod root;

use log::LevelFilter;

proxy_wasm::main! {{
    proxy_host::log_to_host(LevelFilter::Info);
    proxy_wasm::set_root_context(|_| Box::new(root::Root::default()));
}}
