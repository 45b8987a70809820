//! The harness's one binary: a subcommand for each thing that it shows or measures.
//!
//! Exit code 0: it showed what it is to show. 1: it did not, and the last line says why.
//! 130: the user ended it.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use integration::run::Interrupted;
use integration::{compare, demo, load, matrix, overhead, release, simulate, soak};

/// As a shell reports a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Spillway on real Envoys, on this machine
#[derive(Debug, Parser)]
#[command(name = "spillway", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A third edge joins two, and the load of long-lived clients spreads over all three
    ///
    /// Starts 2 edges and 4 nodes (an Envoy each) and long-lived HTTP/1.1 and HTTP/2 clients
    /// that find the edges through DNS, all on loopback addresses. A third edge joins. The run
    /// takes about a minute and is shown live; at the end there is an HTML report.
    ///
    /// Envoy is $ENVOY, or `envoy` on the PATH, or is installed into target/.
    ///
    /// Exit code: 0 if the load settled and no request failed, 1 if not, 130 if ended early
    /// (q, Ctrl-C, SIGTERM).
    Demo(demo::Options),
    /// The same under Envoy's own ways to close connections and under Spillway's, compared
    ///
    /// Every way gets the parameters with which a third edge has its part of the load in the same
    /// time. Compared is what they cost: connections closed, before and after, failed requests
    /// and latency. All of them take about 20 minutes; --only picks some.
    ///
    /// Exit code: 0 if rebalance (where it takes part) settled and failed no request, 1 if not,
    /// 130 if ended early (Ctrl-C, SIGTERM).
    Compare(compare::Options),
    /// What each filter costs per request, against none, an empty one, Lua and Envoy's own way
    ///
    /// One Envoy with one worker for each, all up at once, and load on one at a time, in rounds that
    /// take turns. Takes about 20 minutes; --only and --workloads pick some, --short takes less of
    /// each. wrk and h2load are the clients.
    ///
    /// Exit code: 0 if everything was measured, 1 if not, 130 if ended early (Ctrl-C, SIGTERM).
    Overhead(overhead::Options),
    /// The decisions of nodes and edges at fleet size, in simulated time
    ///
    /// Runs the code of `redistribution` as the filters do, among simulated clients, DNS and
    /// edges. By default a load balancer joins two others with 6,000 connections. Up to 1,000
    /// load balancers, 10,000 nodes and 10 million connections are meant to fit; what has to be
    /// aggregated for that is said.
    ///
    /// Exit code: 0 if the load settled (in every run), 1 if not.
    Simulate(simulate::Options),
    /// Every protocol, plain and over TLS, closed in both ways, on every Envoy since 1.36
    ///
    /// Each cell runs traffic while connections are closed, and counts closes and responses that were
    /// lost, cut or wrong. The Envoys are installed into target/. All cells take about
    /// 5 minutes; --only picks some.
    ///
    /// Exit code: 0 if every cell met closes and lost nothing, 1 if not, 130 if ended early (Ctrl-C,
    /// SIGTERM).
    Matrix(matrix::Options),
    /// A million requests while edges close connections: none lost, cut or mixed up
    ///
    /// Long-lived HTTP/1.1 and HTTP/2 clients send bodies from nothing to 1 MiB, and each has to come
    /// back whole, as the response of its request. Takes some 10 minutes; --requests and
    /// --closes say how long.
    ///
    /// Exit code: 0 if nothing was lost, 1 if something was, 130 if ended early (Ctrl-C, SIGTERM).
    Soak(soak::Options),
    /// All that a release consists of, into target/artifacts
    ///
    /// Both modules as the tests run them, their OCI images, the JSON Schemas of their
    /// configurations, a bill of materials (`CycloneDX`) and checksums. Two builds of the same sources
    /// give the same bytes.
    Artifacts(release::Options),
    /// Long-lived clients for a fleet that is there, until Ctrl-C or SIGTERM
    ///
    /// Says each second, in a line of JSON, what has happened so far.
    Load(load::Options),
    /// Whether an Envoy takes traffic, for health checks of images that have no curl
    ///
    /// Exit code: 0 if it does, 1 if not.
    Ready(load::Ready),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("spillway: {error:#}");
            let interrupted = error.downcast_ref::<Interrupted>().is_some();
            if interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Demo(options) => demo::run(&options).await,
        Command::Compare(options) => compare::run(&options).await,
        Command::Overhead(options) => overhead::run(&options).await,
        Command::Simulate(options) => simulate::run(&options),
        Command::Matrix(options) => matrix::run(&options).await,
        Command::Soak(options) => soak::run(&options).await,
        Command::Artifacts(options) => release::run(&options),
        Command::Load(options) => load::run(&options).await,
        Command::Ready(options) => load::ready(&options).await,
    }
}
