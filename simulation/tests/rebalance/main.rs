//! What `rebalance` promises, on simulated fleets.
//!
//! Each promise is about chance, so each is tried with many seeds; the runs are the same each time.

mod even;
mod futile;
mod joining;
mod runs;
mod topology;
