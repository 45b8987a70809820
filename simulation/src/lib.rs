//! Fleets in simulated time, around the very code of [`redistribution`].
//!
//! Nothing of what a node or an edge decides is modelled here: nodes are [`Node`]s that read
//! stamp headers and write close requests, edges stamp with a [`Stamper`] and keep to a
//! [`CloseBudget`]. Simulated are those around them: clients with their request rates, DNS with
//! its resolvers, edges that come and go, and time, in steps of a tenth of a second, as the
//! filters tick.
//!
//! Two things can be aggregated where a fleet is too large to follow each request
//! ([`Model`]): one stamp then stands for many requests, and one modelled node for many. What a
//! node learns from a stamp it learns exactly all the same, since stamps count; what is left out
//! is how long a node among thousands waits for its next request of an edge. Clients and their
//! connections are never aggregated. `tests/aggregation.rs` compares both on a small fleet.
//!
//! A run is the same for the same [`Scenario`] and seed.
//!
//! [`Node`]: redistribution::node::Node
//! [`Stamper`]: redistribution::stamper::Stamper
//! [`CloseBudget`]: redistribution::close_budget::CloseBudget

mod clients;
mod course;
mod dns;
mod edge;
mod floor;
mod nodes;
mod scenario;
mod world;

pub use course::{Course, Moment};
pub use floor::{closes_floor, least_to_join};
pub use scenario::{Dns, EdgeSpec, Model, Order, Pace, Scenario};
pub use world::World;
