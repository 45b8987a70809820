//! The Proxy-Wasm host calls that Spillway makes, and no others, and the way of its callbacks to
//! the contexts they are for ([`Contexts`]).
//!
//! It stands in for the SDK. The SDK's wrappers panic on a status they do not expect, its string
//! getters on values that are not UTF-8 (design, section 7, point 8), and its dispatcher where a
//! filter's role does not fit its place; a panic is a trap, and a trap fails the
//! requests of everybody on the worker. Here every call returns the host's [`Status`] as an
//! error, and values are bytes. What an error means is for the caller to decide. And the SDK has
//! every module export every callback of the ABI, each of which costs time with each request.
//!
//! Names are those of the ABI (proxy-wasm/spec, version 0.2.1), without `proxy_`.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable
)]

mod abi;
mod clock;
mod dispatch;
mod logger;
mod metrics;
mod news;
mod shared;
mod stream;

pub use abi::{Action, BufferType, MapType, Status, allocate};
pub use clock::monotonic_now;
pub use dispatch::{Contexts, Plugin, Streams};
pub use logger::log_to_host;
pub use metrics::{Counter, Gauge, Level};
pub use news::is_news;
pub use shared::{Queue, get_shared_data, init_shared_data, plugin_vm_id, set_shared_data};
pub use stream::{
    append_buffer, close_downstream, get_buffer, get_header, get_property, remove_header,
    replace_header, resume_downstream, set_buffer, set_effective_context, set_property,
    set_tick_period,
};

/// A host call's result.
pub type Result<T> = std::result::Result<T, Status>;
