//! Fuzz targets: what has to hold whatever comes in.
//!
//! Each target is a function of bytes that panics where it does not hold. Two things run them:
//! `cargo fuzz` (`fuzz_targets/`), for as long as one likes, and `cargo test` (`tests/`), which replays
//! the corpora and changes them a few thousand times.
//!
//! | target | what goes in | where |
//! |---|---|---|
//! | `stamp`, `close_request` | a header, or what is to be written as one | [`stamp`], [`close_request`] |
//! | `lb_config`, `node_config` | a plugin configuration | [`config`] |
//! | `http1` | bytes that leave for an HTTP/1 client | [`http1`] |
//! | `http2` | frames that leave for an HTTP/2 client, in pieces | [`http2`] |
//! | `lb_callbacks` | what happens to an edge | [`edge`] |
//! | `node_callbacks` | what happens to a node | [`node`] |
//!
//! The last two run the filters as they ship, but for this machine, with [`host`] in the place of
//! Envoy.

#![allow(missing_docs, reason = "what is here is for the tests and targets beside it")]

pub mod close_request;
pub mod config;
pub mod corpus;
pub mod edge;
pub mod host;
pub mod http1;
pub mod http2;
pub mod node;
mod oracle;
pub mod stamp;
