//! Edges join, leave and are killed while clients run.

use anyhow::Result;
use integration::client::Pace;
use integration::fleet::{Fleet, FleetSpec};
use serde_json::json;

use crate::support::{eventually, mixed_clients, some_of_a_core};

const CLIENTS: usize = 40;

#[tokio::test]
async fn clients_follow_edges_that_join_and_leave_and_outlive_one_that_is_killed() -> Result<()> {
    let _core = some_of_a_core().await;
    let mut fleet = Fleet::start(FleetSpec {
        edges: 2,
        node: json!({ "close_rate": { "per_second": 10 }, "min_connection_age": "0s" }),
        ..FleetSpec::default()
    })
    .await?;
    let clients = mixed_clients(&fleet, CLIENTS, 2, Pace::PerSecond(10.0))?;
    let open = |edge: &integration::fleet::Edge| {
        clients.totals().edges.get(&edge.ip()).map_or(0, |edge| edge.open)
    };
    eventually("all are connected", || async {
        Ok(clients.totals().connections_open == CLIENTS as u64)
    })
    .await;

    fleet.add_edge().await?;
    eventually("the edge that joined has its part", || async { Ok(open(&fleet.edges()[2]) >= 10) })
        .await;

    fleet.withdraw_edge(0);
    eventually("the edge that left DNS is empty", || async { Ok(open(&fleet.edges()[0]) == 0) })
        .await;
    let totals = clients.totals();
    assert_eq!((totals.failed, totals.connections_lost), (0, 0), "{:#?}", totals.failures);

    fleet.kill_edge(1).await?;
    eventually("all are with the edge that is left", || async {
        Ok(open(&fleet.edges()[2]) == CLIENTS as u64)
    })
    .await;
    let lost = clients.totals();
    // Two streams on each of half the connections: more cannot have been in flight.
    assert!(lost.failed <= 2 * CLIENTS as u64, "{:#?}", lost.failures);
    eventually("requests go on", || async {
        Ok(clients.totals().responses_ok > lost.responses_ok + 500)
    })
    .await;
    assert_eq!(clients.stop().await.failed, lost.failed);
    Ok(())
}
