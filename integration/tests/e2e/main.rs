//! What Spillway does, on real Envoys with real clients.
//!
//! Each module is one promise. Envoy is found or installed as for the demo
//! (`integration::envoy::locate`); without it these tests fail, they do not skip.
//!
//! All that waits is in this one binary, so that it waits together: test binaries run one after the
//! other. What would take the cores from others says so (`integration::testing::all_cores` and its
//! like); the module that needs all of them comes first by its name, and so keeps nobody waiting.

mod at_full_load;
mod bad_configuration;
mod changing_fleet;
mod closing;
mod commands;
mod draining;
mod evenness;
mod exact_rates;
mod futility;
mod guard;
mod headers;
mod observe;
mod operating;
mod other_connections;
mod patent_topology;
mod rates;
mod rebalancing;
mod xds;

use integration::testing as support;
