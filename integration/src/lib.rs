//! The harness.

pub mod application;
pub mod artifacts;
pub mod client;
pub mod compare;
pub mod demo;
pub mod dns;
pub mod envoy;
pub mod fleet;
pub mod live;
pub mod loopback;
pub mod process;
pub mod report;
pub mod run;
pub mod simulate;
pub mod testing;
pub mod tls;
