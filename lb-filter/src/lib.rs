//! `lb_filter.wasm`: Spillway in the edge Envoy.
//!
//! One module, two roles. As an HTTP filter (`http_role`) it stamps requests and takes close
//! requests off responses. As a network filter in front of the HTTP connection manager
//! (`connection_role`) it tells clients to close, in the bytes that leave for them.
//!
//! Both roles share a VM, and so its state (`vm`), where `vm_id`, VM configuration and code are
//! equal (design, section 7, point 3). An HTTP role whose connections no connection role has
//! entered asks Envoy itself to drain them, by filter state that a Lua filter reads.
//!
//! It never holds up or fails a request: where a host call does not do what it should, the
//! error is counted, and the request or connection is left as it is.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable
)]

mod close_limit;
mod connection_role;
mod edge;
mod exports;
mod handover;
mod http2_close;
mod http_role;
mod metrics;
mod root;
mod stream;
mod total;
mod vm;

use log::LevelFilter;

/// Forgets the VM. Where this runs natively a thread is one, and tests have many on a thread.
#[cfg(not(target_family = "wasm"))]
pub fn forget() {
    vm::forget();
}

/// Before all else.
fn start() {
    proxy_host::log_to_host(LevelFilter::Info);
}
