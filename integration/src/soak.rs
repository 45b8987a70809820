//! `cargo soak`: requests by the million while edges close connections, each of them checked.
//!
//! Two edges, two nodes, and clients over HTTP/1.1 and HTTP/2 that send bodies from nothing to 1 MiB,
//! which have to come back: whole, unchanged, and as the response of their request. It ends when
//! there were as many requests and closes as were asked for.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::client::{ClientPool, ClientTotals, LongLivedClient, Pace, Protocol};
use crate::echo;
use crate::fleet::{Fleet, FleetSpec, NAME, StartApplication};
use crate::run::{self, allow_open_files, prepare_folder, unless_signalled};

const EDGES: usize = 2;
const STREAMS: u32 = 8;
/// How often a line says how it stands.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// How often the counters are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What the user can choose.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Requests to be sent, at least
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub requests: u64,
    /// Closes to be met, at least
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    pub closes: u64,
    /// Closes a second, over both edges
    #[arg(long, value_name = "N", default_value_t = 25.0)]
    pub close_rate: f64,
    /// Clients, each with one connection: half HTTP/1.1, half HTTP/2 with 8 streams
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub clients: usize,
    /// Over TLS
    #[arg(long)]
    pub tls: bool,
    /// Have Envoy close the connections, rather than the filters
    #[arg(long)]
    pub native_drain: bool,
    /// Give up after this
    #[arg(long, value_name = "TIME", default_value = "2h", value_parser = humantime::parse_duration)]
    pub within: Duration,
    /// Write the result as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What came of it, as `--json` has it.
#[derive(Clone, Debug, Serialize)]
struct Outcome {
    envoy_version: String,
    /// Requests that have ended.
    requests: u64,
    /// Closes that the clients were told.
    closes: u64,
    /// Requests without the response that is theirs, whole.
    failed_requests: u64,
    /// Connections that ended without a word.
    lost_connections: u64,
    /// Requests that the edges have seen.
    requests_at_edges: u64,
    connections_opened: u64,
    wall_s: f64,
    failures: Vec<String>,
}

/// Runs until there was enough of it, and judges.
///
/// # Errors
///
/// A request failed, or was seen twice; there was not enough of it in time; something that is
/// needed is missing; the user has ended it ([`Interrupted`](run::Interrupted)). With a result, that
/// is written in any case.
pub async fn run(options: &Options) -> Result<()> {
    ensure!(options.clients > 1, "there have to be clients, one for each protocol at least");
    ensure!(options.close_rate > 0.0, "--close-rate has to be more than nothing");
    if let Some(path) = &options.json {
        prepare_folder(path)?;
    }
    allow_open_files(options.clients)?;
    let envoy = run::tools()?;
    println!(
        "Clients: {}, half HTTP/1.1, half HTTP/2 with {STREAMS} streams; bodies from 0 to 1 MiB",
        options.clients
    );
    let outcome = unless_signalled(soak(options, envoy.version.to_string())).await?;
    println!("{}", outcome.line());
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&outcome)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("Result:  {}", path.display());
    }
    outcome.judge(options)
}

fn fleet(options: &Options) -> FleetSpec {
    let rate = options.close_rate / EDGES as f64;
    FleetSpec {
        edges: EDGES,
        node_weights: vec![1, 1],
        tls: options.tls,
        native_drain: options.native_drain,
        http: json!({ "max_closes_per_second": 100_000 }),
        node: json!({ "close_rate": { "per_second": rate }, "min_connection_age": "0s" }),
        application: StartApplication(|address| Box::pin(echo::start(address))),
        ..FleetSpec::default()
    }
}

async fn soak(options: &Options, envoy_version: String) -> Result<Outcome> {
    let fleet = Fleet::start(fleet(options)).await?;
    let tls = options.tls.then(|| fleet.tls()).transpose()?;
    let client = |number: usize| {
        let protocol = match number % 2 {
            0 => Protocol::Http1,
            _ => Protocol::Http2 { concurrent_streams: STREAMS },
        };
        LongLivedClient {
            echoes: true,
            tls: tls.clone(),
            ..LongLivedClient::new(protocol, Pace::Unpaced, NAME.trim_end_matches('.'))
        }
    };
    let start = Instant::now();
    let clients = ClientPool::start(options.clients, client, &fleet.resolver()?, fleet.port())?;
    let mut said_at = start;
    loop {
        let totals = clients.totals();
        let enough = totals.requests >= options.requests && totals.closes_seen >= options.closes;
        if enough || start.elapsed() >= options.within {
            break;
        }
        if said_at.elapsed() >= PROGRESS_INTERVAL {
            said_at = Instant::now();
            println!("{:>6.0} s  {}", start.elapsed().as_secs_f64(), line(&totals));
        }
        sleep_until(Instant::now() + LOOK_INTERVAL).await;
    }
    let totals = clients.stop().await;
    let wall_s = start.elapsed().as_secs_f64();
    let mut requests_at_edges = 0;
    for edge in fleet.edges() {
        requests_at_edges += edge.envoy.stats().await?.counter("http.public.downstream_rq_total");
    }
    Ok(Outcome {
        envoy_version,
        requests: totals.requests,
        closes: totals.closes_seen,
        failed_requests: totals.failed,
        lost_connections: totals.connections_lost,
        requests_at_edges,
        connections_opened: totals.connections_opened,
        wall_s,
        failures: totals.failures,
    })
}

fn line(totals: &ClientTotals) -> String {
    format!(
        "requests {}  closes {}  failed {}  connections lost {}",
        totals.requests, totals.closes_seen, totals.failed, totals.connections_lost
    )
}

// === impl Outcome ===

impl Outcome {
    fn line(&self) -> String {
        format!(
            "requests {}   closes {}   failed {}   connections lost {}   in {:.0} s on Envoy {}",
            self.requests,
            self.closes,
            self.failed_requests,
            self.lost_connections,
            self.wall_s,
            self.envoy_version
        )
    }

    fn judge(&self, options: &Options) -> Result<()> {
        let failures = &self.failures;
        ensure!(self.failed_requests == 0, "requests failed: {failures:#?}");
        ensure!(self.lost_connections == 0, "connections were lost: {failures:#?}");
        ensure!(
            self.requests_at_edges == self.requests,
            "the edges have seen {} requests of {} that were sent",
            self.requests_at_edges,
            self.requests
        );
        ensure!(
            self.requests >= options.requests && self.closes >= options.closes,
            "not enough in {}: {}",
            humantime::format_duration(options.within),
            self.line()
        );
        Ok(())
    }
}
