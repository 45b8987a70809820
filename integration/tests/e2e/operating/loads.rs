//! Loads that are uneven, and nothing is closed.

use anyhow::{Context, Result};
use integration::artifacts::filters;
use integration::client::{ClientPool, Pace};
use integration::fleet::{Bootstrap, Fleet, FleetSpec};
use redistribution::wire::Stamp;
use serde_json::json;

use crate::support::{
    PATIENCE, eventually, eventually_within, gauge, mixed_clients, rebalancing, some_of_a_core,
};

const ANNOUNCEMENT: &str = "/static_resources/clusters/0/health_checks/0/http_health_check/request_headers_to_add/0/header/value";

/// Waits until three in four clients are with the first edge, and the nodes have seen it.
async fn uneven(fleet: &Fleet, clients: usize) -> Result<ClientPool> {
    fleet.set_dns_weights(&[3, 1]);
    let pool = mixed_clients(fleet, clients, 2, Pace::PerSecond(5.0))?;
    eventually("all are connected and have sent some", || async {
        let totals = pool.totals();
        Ok(totals.connections_open == clients as u64 && totals.responses_ok > 20 * clients as u64)
    })
    .await;
    let totals = pool.totals();
    let open: Vec<_> = fleet.edges().iter().map(|edge| totals.edges[&edge.ip()].open).collect();
    assert!(open[0] >= 2 * open[1], "{open:?}");
    Ok(pool)
}

/// The control: as uneven, with more clients than luck explains.
#[tokio::test]
async fn few_connections_are_left_to_luck_and_many_are_not() -> Result<()> {
    let _core = some_of_a_core().await;
    let fleet = Fleet::start(rebalancing(2)).await?;
    let few = uneven(&fleet, 4).await?;
    let deviations = gauge(&fleet, "worst_deviation_permille").await?;
    assert!(deviations.iter().all(|permille| *permille > 200), "{deviations:?}");
    assert_eq!(gauge(&fleet, "pools_closing").await?, [0, 0]);
    assert_eq!(gauge(&fleet, "pools_alone").await?, [0, 0]);
    assert_eq!(few.stop().await.closes_seen, 0);

    let _many = uneven(&fleet, 160).await?;
    eventually("the nodes close connections", || async {
        Ok(gauge(&fleet, "pools_closing").await? == [1, 1])
    })
    .await;
    Ok(())
}

fn a_pool_of_its_own(edge: &mut Bootstrap) -> Result<()> {
    let name = edge.at("/node/id")?.as_str().context("no name")?.to_owned();
    known_as(edge, &name, &name)
}

fn the_same_id(edge: &mut Bootstrap) -> Result<()> {
    known_as(edge, "edge", "default")
}

/// In requests, and in health checks.
fn known_as(edge: &mut Bootstrap, id: &str, pool: &str) -> Result<()> {
    let http = json!({ "id": id, "pool": pool });
    edge.spillway("spillway.http", &filters()?.directory, &http)?;
    let mut stamp = String::new();
    Stamp { id: id.into(), pool: pool.into(), weight: 1.0, position: None }.write(&mut stamp);
    *edge.at(ANNOUNCEMENT)? = json!(stamp);
    Ok(())
}

/// Starts such edges, and waits until the nodes know of so many pools that have one edge each.
async fn alone(edge_changes: fn(&mut Bootstrap) -> Result<()>, pools: u64) -> Result<()> {
    let fleet = Fleet::start(FleetSpec { edge_changes, ..rebalancing(2) }).await?;
    let clients = uneven(&fleet, 80).await?;
    // They give others half a minute to be heard of first.
    eventually_within(2 * PATIENCE, "the nodes say that edges are alone", || async {
        Ok(gauge(&fleet, "pools_alone").await? == [pools, pools])
    })
    .await;
    assert_eq!(gauge(&fleet, "pools_closing").await?, [0, 0]);
    assert_eq!(clients.stop().await.closes_seen, 0);
    Ok(())
}

#[tokio::test]
async fn edges_with_equal_ids_or_pools_of_their_own_are_alone() -> Result<()> {
    let _core = some_of_a_core().await;
    // Most of it is waiting.
    tokio::try_join!(alone(the_same_id, 1), alone(a_pool_of_its_own, 2))?;
    Ok(())
}
