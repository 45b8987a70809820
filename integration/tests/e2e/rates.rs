//! The close rate wanted of a load balancer is what it gets, however its requests are shared.

use std::time::Duration;

use anyhow::Result;
use integration::client::Pace;
use integration::fleet::{Fleet, FleetSpec};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::support::{eventually, lb, mixed_clients, some_of_a_core};

const WANTED: f64 = 5.0;
const HALF: Duration = Duration::from_secs(30);

/// Closes that each edge was told to make so far, and when this was read.
async fn told(fleet: &Fleet) -> Result<(Instant, Vec<u64>)> {
    let mut closes = Vec::new();
    for edge in fleet.edges() {
        closes.push(lb(&edge.envoy, "closes_requested").await?);
    }
    Ok((Instant::now(), closes))
}

fn assert_rate(phase: &str, from: &(Instant, Vec<u64>), to: &(Instant, Vec<u64>)) {
    let seconds = (to.0 - from.0).as_secs_f64();
    for (edge, (from, to)) in from.1.iter().zip(&to.1).enumerate() {
        let rate = (to - from) as f64 / seconds;
        eprintln!("{phase}: edge {edge} was told to close {rate:.2} a second");
        let deviation = (rate / WANTED - 1.0).abs();
        assert!(
            deviation <= 0.1,
            "{phase}: edge {edge} was told to close {rate:.2} a second, not {WANTED} within 10 %"
        );
    }
}

#[tokio::test]
async fn edges_are_told_to_close_at_the_rate_wanted_also_when_a_node_goes() -> Result<()> {
    let _core = some_of_a_core().await;
    let mut fleet = Fleet::start(FleetSpec {
        edges: 2,
        edge_workers: 2,
        node_weights: vec![1, 2, 3],
        node_workers: 2,
        node: json!({ "close_rate": { "per_second": WANTED }, "min_connection_age": "1s" }),
        ..FleetSpec::default()
    })
    .await?;
    let clients = mixed_clients(&fleet, 80, 2, Pace::PerSecond(10.0))?;
    eventually("all nodes have measured their shares", || async {
        let mut rate = 0;
        for node in fleet.nodes() {
            rate += node.envoy.stats().await?.gauge("wasmcustom.spillway.node.close_rate_millis");
        }
        Ok((rate as f64 / 1000.0 / (2.0 * WANTED) - 1.0).abs() < 0.05)
    })
    .await;

    let start = told(&fleet).await?;
    sleep_until(start.0 + HALF).await;
    let half = told(&fleet).await?;
    assert_rate("with all nodes", &start, &half);

    let gone = fleet.remove_node(1);
    gone.envoy.stop().await?;
    sleep_until(half.0 + HALF).await;
    let end = told(&fleet).await?;
    assert_rate("with one node less", &half, &end);
    assert_rate("over the whole time", &start, &end);
    drop(clients);
    Ok(())
}
