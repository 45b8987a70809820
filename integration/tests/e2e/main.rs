//! What Spillway does, on real Envoys with real clients.
//!
//! Each module is one promise. Envoy is found or installed as for the demo
//! (`integration::envoy::locate`); without it these tests fail, they do not skip.

mod bad_configuration;
mod changing_fleet;
mod closing;
mod draining;
mod evenness;
mod futility;
mod guard;
mod headers;
mod no_request_lost;
mod other_connections;
mod patent_topology;
mod rates;
mod rebalancing;

use integration::testing as support;
