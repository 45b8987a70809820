//! Every decision of Spillway, with no host call.
//!
//! Two filters adapt this crate to Envoy. What they do with a request, a response or
//! a connection is decided here, so that it can be read, tested and simulated without one:
//!
//! | question | where |
//! |---|---|
//! | What do the two headers say? | [`wire`] |
//! | What share of a load balancer's requests does this node handle? | [`request_share`] |
//! | How many closes per second does that make? | [`close_rate`] |
//! | Is one due now? | [`pacer`] |
//! | Are the loads of a pool even, and what would make them so? | [`rebalance`], [`pool`] |
//! | And where few requests come to measure them by? | [`few_requests`] |
//! | Does closing help? What is said of it? | [`trial`], [`balance`] |
//! | Which connections may it name? | [`recent_connections`] |
//! | What does a node do with a request and its response? | [`node`] |
//! | How does an edge count and stamp its requests? | [`stamper`] |
//! | Which of them does it stamp, where they are many? | [`sampler`] |
//! | Which connections are open at the edge, and how far is each with closing? | [`connections`] |
//! | Does the edge do what a close request asks? | [`guard`], [`close_budget`] |
//! | What bytes tell an HTTP/1 or HTTP/2 client to close? | [`http1`], [`http2`] |
//! | What can be configured? | [`config`] |
//!
//! Nothing here reads a clock, draws a random number or keeps a global: time comes in as
//! [`Timestamp`], randomness as a number, and all state is in values the caller owns.

// What runs inside Envoy must not be able to trap it.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable
    )
)]

pub mod balance;
pub mod close_budget;
pub mod close_rate;
pub mod config;
pub mod connections;
mod deviation;
pub mod few_requests;
pub mod guard;
pub mod heaviness;
pub mod http1;
pub mod http2;
pub mod load;
mod load_balancer;
pub mod node;
pub mod pacer;
pub mod pool;
mod pools;
pub mod rebalance;
pub mod recent_connections;
pub mod request_share;
pub mod sampler;
pub mod stamper;
mod timestamp;
pub mod trial;
mod vm_token;
pub mod wire;

pub use timestamp::Timestamp;
pub use vm_token::VmToken;

/// An Envoy `connection.id`: process-wide, from 0, never used twice.
pub type ConnectionId = u64;
