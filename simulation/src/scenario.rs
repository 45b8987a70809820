//! What a fleet is like at the start.

use std::time::Duration;

use redistribution::config::NodeConfig;

/// A fleet, and how it is simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The edges (load balancers) at the start.
    pub edges: Vec<EdgeSpec>,
    /// Nodes, each with one VM.
    pub nodes: usize,
    /// Whether each edge has nodes of its own, as in the patent, instead of all sharing all.
    pub own_nodes: bool,
    /// Clients, each with one connection; pools get equal parts of them.
    pub clients: usize,
    /// How many requests a second each client sends.
    pub pace: Pace,
    /// How names are resolved.
    pub dns: Dns,
    /// Which edge an answer of DNS names first.
    pub order: Order,
    /// From a close to the new connection, DNS not included.
    pub reconnect: Duration,
    /// Mean time after which a client leaves by itself and connects anew, if it ever does.
    pub lifetime: Option<Duration>,
    /// How often edges announce themselves to nodes.
    pub announce: Duration,
    /// Closes per second that an edge makes at most.
    pub max_closes_per_second: f64,
    /// The configuration of every node.
    pub node: NodeConfig,
    /// What is aggregated.
    pub model: Model,
    /// Where all chance comes from.
    pub seed: u64,
}

/// An edge.
#[derive(Clone, Debug)]
pub struct EdgeSpec {
    /// Edges between which clients can be moved.
    pub pool: usize,
    /// Capacity relative to its pool.
    pub weight: f64,
}

/// How the request rates of clients are spread, in requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// All alike.
    Equal(f64),
    /// Evenly between two rates.
    Between(f64, f64),
    /// Exponential with this mean.
    Exponential(f64),
    /// Pareto with this mean and shape (more than 1): the smaller, the heavier the few.
    Pareto(f64, f64),
    /// All alike, but for one client that sends this part of all requests.
    OneHeavy(f64, f64),
}

/// How clients find an edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dns {
    /// How long a resolver keeps an answer.
    pub ttl: Duration,
    /// Resolvers that the clients share and that keep the first address of the answer; without
    /// any, each client asks anew.
    pub resolvers: Option<usize>,
}

/// Which edge an answer of DNS names first: each has its part of the answers by its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Any, by chance.
    #[default]
    Random,
    /// The one that is furthest behind its part: with equal weights all in turn.
    Rotating,
}

/// What is modelled singly, and what is aggregated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// Nodes modelled, if less than all.
    pub nodes: Option<usize>,
    /// Stamps per second of an edge at most where it has nothing to close; with closes to make, so
    /// many for each of them. Without a bound each request is stamped.
    pub stamps: Option<f64>,
}

// === impl Scenario ===

impl Default for Scenario {
    /// Two edges, four nodes, 6,000 clients with a request a second, every request modelled.
    fn default() -> Self {
        Self {
            edges: vec![EdgeSpec::default(); 2],
            nodes: 4,
            own_nodes: false,
            clients: 6_000,
            pace: Pace::Equal(1.0),
            dns: Dns { ttl: Duration::ZERO, resolvers: None },
            order: Order::default(),
            reconnect: Duration::from_millis(200),
            lifetime: None,
            announce: Duration::from_secs(1),
            max_closes_per_second: 100_000.0,
            node: NodeConfig::default(),
            model: Model { nodes: None, stamps: None },
            seed: 1,
        }
    }
}

impl Scenario {
    /// Nodes that are modelled.
    #[must_use]
    pub fn modelled_nodes(&self) -> usize {
        self.model.nodes.unwrap_or(self.nodes).min(self.nodes).max(1)
    }

    /// Pools, from 0.
    #[must_use]
    pub fn pools(&self) -> usize {
        self.edges.iter().map(|edge| edge.pool + 1).max().unwrap_or(1)
    }
}

// === impl EdgeSpec ===

impl Default for EdgeSpec {
    fn default() -> Self {
        Self { pool: 0, weight: 1.0 }
    }
}
