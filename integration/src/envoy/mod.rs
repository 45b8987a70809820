//! Envoy as the harness uses it: found or installed, checked, run, asked.
//!
//! Everything here works on the real binary. A binary that cannot run Wasm
//! filters is turned down before anything is built on it, because what Envoy
//! says about it later ("Unable to create Wasm plugin") points at the filter
//! and not at the binary.

mod admin;
mod install;
mod instance;
mod locate;

pub use admin::{Admin, Stats};
pub use install::{INSTALLABLE_VERSIONS, PINNED_VERSION};
pub use instance::{Envoy, EnvoyOptions};
pub use locate::{EnvoyBinary, OLDEST_VERSION, Version, inspect, locate, locate_version};
