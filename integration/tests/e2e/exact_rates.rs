//! How exact the close rate is: three edges with two workers each and four nodes with two workers
//! each, for a minute. Each edge is told to close at the rate wanted, within 5 %, also where it stamps
//! only some of its requests.
//!
//! One run; `SPILLWAY_RUNS=10` makes ten, of which nine have to be so.

use std::time::Duration;

use anyhow::{Context, Result};
use integration::client::{ClientPool, LongLivedClient, Pace, Protocol};
use integration::fleet::{Fleet, FleetSpec, NAME};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::some_of_a_core;

const WANTED: f64 = 5.0;
const TOLERANCE: f64 = 0.05;
const RUN: Duration = Duration::from_mins(1);
const EDGES: usize = 3;
const CLIENTS: usize = 180;
/// How long the nodes may take to know their shares, and to begin.
const PATIENCE: Duration = Duration::from_mins(1);
/// Closes of each edge before it is measured: the first ones are earned sooner than asked for, since
/// they wait for a response that may carry one.
const FIRST_CLOSES: u64 = 75;

/// What was counted up to a moment.
struct Reading {
    at: Instant,
    /// By edge.
    closes: Vec<u64>,
    /// Over all edges, all and those with a stamp.
    requests: [u64; 2],
    /// Over all nodes.
    lapsed: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_edge_is_told_to_close_at_the_rate_wanted_within_5_percent() -> Result<()> {
    are_exact("all are stamped", &json!({}), 1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_where_few_requests_have_a_stamp() -> Result<()> {
    // A worker has 120 requests a second.
    are_exact("a sample is stamped", &json!({ "max_stamps_per_second": 20 }), 3).await
}

/// So many runs of edges with this configuration, which stamp at most one in `one_in` requests.
async fn are_exact(case: &str, http: &Value, one_in: u64) -> Result<()> {
    let runs = std::env::var("SPILLWAY_RUNS").map_or(Ok(1), |runs| {
        runs.parse::<u32>().context("SPILLWAY_RUNS is to be a number of runs")
    })?;
    let _core = some_of_a_core().await;
    let mut exact = 0;
    for run in 1..=runs {
        let deviations = deviations(http, one_in).await?;
        let percent: Vec<_> =
            deviations.iter().map(|part| format!("{:+.1}", part * 100.0)).collect();
        eprintln!("{case}, run {run}: off by {} %", percent.join(", "));
        exact += u32::from(deviations.iter().all(|part| part.abs() <= TOLERANCE));
    }
    assert!(
        10 * exact >= 9 * runs,
        "{case}: {exact} of {runs} runs were within {} % of {WANTED} a second at each edge",
        TOLERANCE * 100.0
    );
    Ok(())
}

/// One run of a new fleet: how far the rate of each edge is off, relative to the rate wanted.
async fn deviations(http: &Value, one_in: u64) -> Result<Vec<f64>> {
    let fleet = Fleet::start(FleetSpec {
        edges: EDGES,
        edge_workers: 2,
        node_weights: vec![1; 4],
        node_workers: 2,
        http: http.clone(),
        node: json!({ "close_rate": { "per_second": WANTED }, "min_connection_age": "1s" }),
        ..FleetSpec::default()
    })
    .await?;
    let spec = |number: usize| {
        let protocol = match number % 2 {
            0 => Protocol::Http1,
            _ => Protocol::Http2 { concurrent_streams: 3 },
        };
        LongLivedClient::new(protocol, Pace::PerSecond(4.0), NAME.trim_end_matches('.'))
    };
    let clients = ClientPool::start(CLIENTS, spec, &fleet.resolver()?, fleet.port())?;
    warm_up(&fleet).await?;

    let start = Reading::take(&fleet).await?;
    sleep_until(start.at + RUN).await;
    let end = Reading::take(&fleet).await?;
    let seconds = (end.at - start.at).as_secs_f64();
    let closes: Vec<_> = start.closes.iter().zip(&end.closes).map(|(from, to)| to - from).collect();
    let lapsed = end.lapsed - start.lapsed;
    eprintln!("closes of the edges in {seconds:.2} s: {closes:?}; lapsed at the nodes: {lapsed}");
    let [requests, stamped] = [0, 1].map(|which| end.requests[which] - start.requests[which]);
    eprintln!("stamps for {requests} requests: {stamped}");
    assert!(stamped * one_in <= requests, "that is more than one in {one_in}");
    let totals = clients.stop().await;
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    Ok(closes.iter().map(|closes| *closes as f64 / seconds / WANTED - 1.0).collect())
}

/// Waits until the nodes together owe the rate wanted, as they say themselves, and have begun to ask.
async fn warm_up(fleet: &Fleet) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut millis = 0;
        for node in fleet.nodes() {
            let stats = node.envoy.stats().await?;
            millis += stats.gauge("wasmcustom.spillway.node.close_rate_millis");
        }
        let part = millis as f64 / 1000.0 / (EDGES as f64 * WANTED);
        let closes = Reading::take(fleet).await?.closes;
        let begun = closes.iter().all(|closes| *closes >= FIRST_CLOSES);
        if begun && (part - 1.0).abs() <= TOLERANCE {
            return Ok(());
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "nodes owe {part:.2} of the rate wanted, and have asked for {closes:?}"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

// === impl Reading ===

impl Reading {
    async fn take(fleet: &Fleet) -> Result<Self> {
        let (at, mut closes, mut requests, mut lapsed) = (Instant::now(), Vec::new(), [0; 2], 0);
        for edge in fleet.edges() {
            let stats = edge.envoy.stats().await?;
            closes.push(stats.counter("wasmcustom.spillway.lb.closes_requested"));
            for (sum, name) in requests.iter_mut().zip(["requests", "requests_stamped"]) {
                *sum += stats.counter(&format!("wasmcustom.spillway.lb.{name}"));
            }
        }
        for node in fleet.nodes() {
            let stats = node.envoy.stats().await?;
            lapsed += stats.counter("wasmcustom.spillway.node.closes_lapsed");
        }
        Ok(Self { at, closes, requests, lapsed })
    }
}
