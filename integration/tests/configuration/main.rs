//! Configurations with mistakes: each has its message, and the JSON Schemas refuse them too.
//!
//! The modules are given the same ones in `host_calls`, and some of them real Envoys in `e2e`: at the start
//! (`bad_configuration`) and under traffic (`xds`).

mod bad;
mod mutations;
mod schemas;
mod shown;
