//! `rebalance` closes what balance needs, and nothing else.

use std::time::Duration;

use anyhow::Result;
use integration::client::{ClientPool, Pace};
use integration::fleet::{Fleet, FleetSpec};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{all_cores, eventually, mixed_clients, node};

const CLIENTS: usize = 120;

fn rebalancing(edges: usize) -> FleetSpec {
    FleetSpec {
        edges,
        node_weights: vec![1, 1],
        node: json!({
            "close_rate": { "rebalance": { "settle_time": "20s" } },
            "min_connection_age": "1s",
            "share_window": "1s",
        }),
        ..FleetSpec::default()
    }
}

fn start_clients(fleet: &Fleet) -> Result<ClientPool> {
    mixed_clients(fleet, CLIENTS, 2, Pace::PerSecond(5.0))
}

async fn gauge(fleet: &Fleet, name: &str) -> Result<Vec<u64>> {
    let mut values = Vec::new();
    for node in fleet.nodes() {
        let stats = node.envoy.stats().await?;
        values.push(stats.gauge(&format!("wasmcustom.spillway.node.{name}")));
    }
    Ok(values)
}

async fn requested(fleet: &Fleet) -> Result<u64> {
    let mut closes = 0;
    for each in fleet.nodes() {
        closes += node(&each.envoy, "closes_requested").await?;
    }
    Ok(closes)
}

#[tokio::test]
async fn it_leaves_an_even_pool_alone_and_gives_a_new_edge_its_part() -> Result<()> {
    let _cores = all_cores().await;
    let mut fleet = Fleet::start(rebalancing(2)).await?;
    let clients = start_clients(&fleet)?;
    eventually("the nodes know the load", || async {
        Ok(clients.totals().responses_ok > 20 * CLIENTS as u64)
    })
    .await;
    assert_eq!(requested(&fleet).await?, 0, "closes in an even pool");

    fleet.add_edge().await?;
    eventually("the nodes see that the pool is uneven", || async {
        Ok(gauge(&fleet, "pools_closing").await? == [1, 1])
    })
    .await;
    eventually("it is even again", || async {
        Ok(gauge(&fleet, "pools_closing").await? == [0, 0])
    })
    .await;
    let totals = clients.totals();
    let open: Vec<_> = totals.edges.values().map(|edge| edge.open).collect();
    assert!(open.iter().all(|open| (30..=50).contains(open)), "{open:?}");
    assert_eq!(totals.failed, 0, "{:#?}", totals.failures);

    // What was earned before the end flows out for a stretch or two; then there is silence.
    sleep(Duration::from_secs(4)).await;
    let closes = requested(&fleet).await?;
    sleep(Duration::from_secs(10)).await;
    assert_eq!(requested(&fleet).await?, closes, "closes in a pool that is even again");
    // The least that clients who land at random allow is 0.9 closes for each of them.
    assert!(closes <= 2 * CLIENTS as u64, "{closes} closes for {CLIENTS} connections");
    clients.stop().await;
    Ok(())
}

#[tokio::test]
async fn it_holds_back_where_closing_changes_nothing() -> Result<()> {
    let _cores = all_cores().await;
    // Announced by its health checks, but not in DNS.
    let fleet = Fleet::start(rebalancing(3)).await?;
    fleet.withdraw_edge(2);
    let clients = start_clients(&fleet)?;
    eventually("the nodes close connections for it", || async {
        Ok(gauge(&fleet, "pools_closing").await? == [1, 1])
    })
    .await;
    eventually("the nodes find that futile", || async {
        Ok(gauge(&fleet, "pools_futile").await? == [1, 1])
    })
    .await;
    let log = fleet.nodes()[0].envoy.log_text();
    assert!(log.contains("in 1 closing has changed nothing, and is held back"), "{log}");
    let totals = clients.stop().await;
    assert!(totals.closes_seen <= 4 * CLIENTS as u64, "{} closes", totals.closes_seen);
    assert_eq!(totals.failed, 0, "{:#?}", totals.failures);
    Ok(())
}
