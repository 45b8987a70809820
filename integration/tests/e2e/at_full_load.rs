//! A close costs a client a reconnect, never a request.

use std::time::Duration;

use anyhow::Result;
use integration::client::Pace;
use integration::fleet::{Fleet, FleetSpec};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::support::{all_cores, eventually, lb, mixed_clients};

const CLIENTS: usize = 200;
/// For each of the two edges: 20 in all.
const CLOSES_PER_SECOND: f64 = 10.0;
const TIME: Duration = Duration::from_secs(30);

async fn no_request_is_lost(native_drain: bool) -> Result<()> {
    let _cores = all_cores().await;
    let fleet = Fleet::start(FleetSpec {
        native_drain,
        edges: 2,
        edge_workers: 2,
        node_weights: vec![1, 1],
        node: json!({
            "close_rate": { "per_second": CLOSES_PER_SECOND },
            "min_connection_age": "1s",
        }),
        ..FleetSpec::default()
    })
    .await?;
    let clients = mixed_clients(&fleet, CLIENTS, 4, Pace::Unpaced)?;
    eventually("closes are under way", || async { Ok(clients.totals().closes_seen > 0) }).await;
    let (start, before) = (Instant::now(), clients.totals().closes_seen);
    sleep_until(start + TIME).await;
    let seconds = start.elapsed().as_secs_f64();
    let closes = clients.totals().closes_seen - before;
    let totals = clients.stop().await;

    let rate = closes as f64 / seconds;
    eprintln!(
        "{} requests, {rate:.1} closes/s, {} unsent, p99 {:?} us",
        totals.requests, totals.unsent, totals.latency_p99_us
    );
    assert!((rate / (2.0 * CLOSES_PER_SECOND) - 1.0).abs() < 0.15, "{rate} closes a second");
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);
    // What the edges have seen is what the clients have sent, each request once.
    let mut received = 0;
    for edge in fleet.edges() {
        received += edge.envoy.stats().await?.counter("http.public.downstream_rq_total");
        assert_eq!(lb(&edge.envoy, "host_errors").await?, 0);
    }
    assert_eq!(received, totals.requests);
    Ok(())
}

#[tokio::test]
async fn no_request_is_lost_by_the_connection_role() -> Result<()> {
    no_request_is_lost(false).await
}

#[tokio::test]
async fn no_request_is_lost_by_native_drain() -> Result<()> {
    no_request_is_lost(true).await
}
