//! What the user can choose, and the plan it comes to.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use redistribution::close_rate::CloseRate;
use redistribution::config::NodeConfig;
use redistribution::node::MAX_LOAD_BALANCERS;
use serde_json::{Value, json};
use simulation::{Dns, EdgeSpec, Pace, Scenario};

use super::aggregation;

/// The bound of closes for one load balancer: so high that it does not bind at large sizes.
const MAX_PER_SECOND: u32 = 10_000;
/// From the start to the change where nothing has to settle first.
const WARM_UP: Duration = Duration::from_secs(30);
/// The shape of `--load pareto`: its variance is infinite.
const PARETO_SHAPE: f64 = 1.5;
/// The most connections: their numbers fit 32 bits, and their columns a small machine.
const MOST_CONNECTIONS: usize = 100_000_000;

/// What the user can choose.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Load balancers before the change
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub lbs: usize,
    /// Load balancers that join
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub join: usize,
    /// Instead of any joining, the first is killed and comes back empty after 10 s
    #[arg(long, conflicts_with = "join")]
    pub restart: bool,
    /// Nodes behind them
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    pub nodes: usize,
    /// Client connections
    #[arg(long, value_name = "COUNT", default_value_t = 6_000)]
    pub connections: usize,
    /// How request rates differ between connections (pareto: shape 1.5)
    #[arg(long, value_enum, default_value_t = Load::Equal)]
    pub load: Load,
    /// Requests per second of a connection, on average
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    pub requests_per_connection: f64,
    /// Weights of the load balancers at the start, repeated over them; those that join have 1
    #[arg(long, value_name = "WEIGHT", value_delimiter = ',', default_values_t = [1.0])]
    pub weights: Vec<f64>,
    /// How long resolvers keep an answer; needs --resolvers
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub dns_ttl: Duration,
    /// Caching resolvers that the clients share [default: none, each client asks anew]
    #[arg(long, value_name = "COUNT")]
    pub resolvers: Option<usize>,
    /// Mean time after which clients leave by themselves and connect anew [default: never]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub lifetime: Option<Duration>,
    /// The whole configuration of the nodes' filter [default: rebalance with --settle-time and a
    /// `max_per_second` of 10000, so that the bound does not bind]
    #[arg(long, value_name = "JSON", conflicts_with = "settle_time")]
    pub policy: Option<String>,
    /// The `settle_time` of rebalance
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub settle_time: Duration,
    /// Where all chance comes from: the same seed gives the same result
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Runs, with this and the following seeds; their medians are the result
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub runs: u32,
    /// From the start to the change [default: 30s; twice the settle time where weights differ,
    /// since clients land on all alike]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub warm_up: Option<Duration>,
    /// From the change to the end [default: three times the settle time]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub after: Option<Duration>,
    /// Write the result as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report to this file [default: target/spillway-simulate.html]
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// How request rates differ between connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// All alike
    Equal,
    /// Exponentially distributed
    Exponential,
    /// A heavy few send most
    Pareto,
}

/// What happens to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// So many load balancers join.
    Join(usize),
    /// The first is killed and comes back empty.
    Restart,
}

/// What is to be run, checked.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The fleet at the start, with the seed of the first run.
    pub scenario: Scenario,
    /// What happens to it.
    pub change: Change,
    /// From the start to the change.
    pub warm_up: Duration,
    /// From the change to the end.
    pub after: Duration,
    /// The `settle_time` of the policy, where it has one.
    pub settle_time: Option<Duration>,
    /// How far a load may be from its part to count as even.
    pub tolerance: f64,
    /// The configuration of the nodes.
    pub policy: Value,
}

// === impl Options ===

impl Options {
    /// What is to be run.
    ///
    /// # Errors
    ///
    /// The options cannot be had together, or one is out of its range.
    pub(super) fn plan(&self) -> Result<Plan> {
        self.check()?;
        let policy = self.policy.clone().unwrap_or_else(|| {
            let settle_time = humantime::format_duration(self.settle_time).to_string();
            let rebalance = json!({ "settle_time": settle_time, "max_per_second": MAX_PER_SECOND });
            json!({ "close_rate": { "rebalance": rebalance } }).to_string()
        });
        let node = NodeConfig::parse(policy.as_bytes()).map_err(|mistakes| {
            let name = if self.policy.is_some() { "--policy" } else { "--settle-time" };
            anyhow::anyhow!("{name}: {mistakes}")
        })?;
        let policy = serde_json::from_str(&policy).context("--policy")?;
        let (settle_time, tolerance) = match &node.close_rate {
            CloseRate::Rebalance(settings) => (Some(settings.settle_time), settings.tolerance),
            _ => (None, 0.0),
        };
        let time = settle_time.unwrap_or(self.settle_time);
        let weighted =
            self.weights.iter().any(|weight| (weight / self.weights[0] - 1.0).abs() > 1e-9);
        let warm_up = self.warm_up.unwrap_or(if weighted { 2 * time } else { WARM_UP });
        let after = self.after.unwrap_or(3 * time);
        let mut scenario = self.scenario(node);
        scenario.model = aggregation::model(&scenario, self.joining(), warm_up + after);
        Ok(Plan {
            scenario,
            change: if self.restart { Change::Restart } else { Change::Join(self.join) },
            warm_up,
            after,
            settle_time,
            // Section 9 of the design has a tenth; a policy that aims at less cannot do better.
            tolerance: tolerance.max(0.1),
            policy,
        })
    }

    fn joining(&self) -> usize {
        if self.restart { 0 } else { self.join }
    }

    fn check(&self) -> Result<()> {
        ensure!(self.lbs >= 1, "--lbs: there must be one at least");
        ensure!(!self.restart || self.lbs >= 2, "--restart needs two --lbs at least");
        let lbs = self.lbs.saturating_add(self.joining());
        ensure!(
            lbs <= MAX_LOAD_BALANCERS,
            "--lbs and --join: {lbs} load balancers are more than the {MAX_LOAD_BALANCERS} that a \
             node keeps account of"
        );
        ensure!(self.nodes >= 1, "--nodes: there must be one at least");
        ensure!(
            (1..=MOST_CONNECTIONS).contains(&self.connections),
            "--connections must be from 1 to {MOST_CONNECTIONS}"
        );
        let rate = self.requests_per_connection;
        ensure!(
            (0.001..=1_000.0).contains(&rate),
            "--requests-per-connection must be from 0.001 to 1000"
        );
        ensure!(
            self.weights.iter().all(|weight| (0.001..=1_000_000.0).contains(weight)),
            "--weights must be from 0.001 to 1000000"
        );
        ensure!(self.resolvers != Some(0), "--resolvers: leave it out for none");
        ensure!(
            self.dns_ttl.is_zero() || self.resolvers.is_some(),
            "--dns-ttl needs --resolvers that keep the answers"
        );
        ensure!(
            self.lifetime.is_none_or(|lifetime| lifetime >= Duration::from_secs(1)),
            "--lifetime must be a second at least"
        );
        ensure!(self.runs >= 1, "--runs: there must be one at least");
        ensure!(
            self.after.is_none_or(|after| after >= Duration::from_secs(10)),
            "--after must be 10 seconds at least, to see whether the load stays even"
        );
        let day = Duration::from_hours(24);
        let longest = self.after.into_iter().chain(self.warm_up).max().unwrap_or_default();
        ensure!(longest <= day, "--warm-up and --after must be a day at most");
        Ok(())
    }

    fn scenario(&self, node: NodeConfig) -> Scenario {
        let weights = self.weights.iter().cycle().take(self.lbs);
        let rate = self.requests_per_connection;
        Scenario {
            edges: weights.map(|weight| EdgeSpec { pool: 0, weight: *weight }).collect(),
            nodes: self.nodes,
            clients: self.connections,
            pace: match self.load {
                Load::Equal => Pace::Equal(rate),
                Load::Exponential => Pace::Exponential(rate),
                Load::Pareto => Pace::Pareto(rate, PARETO_SHAPE),
            },
            dns: Dns { ttl: self.dns_ttl, resolvers: self.resolvers },
            lifetime: self.lifetime,
            seed: self.seed,
            node,
            ..Scenario::default()
        }
    }
}
