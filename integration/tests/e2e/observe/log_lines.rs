//! What the filters log: their configuration once, however many workers there are, each change once,
//! and nothing of a request.

use anyhow::Result;
use integration::client::Pace;
use integration::envoy::Envoy;
use integration::fleet::{Bootstrap, Fleet, FleetSpec};
use serde_json::json;

use crate::support::{Http, curl, eventually, gauge, lb, mixed_clients, rebalancing, warm_up};

const WORKERS: u32 = 2;

/// What the filters of an Envoy have said.
fn said(envoy: &Envoy) -> Vec<String> {
    let log = envoy.log_text();
    let lines = log.lines().filter_map(|line| Some(line.split_once(": spillway ")?.1.to_owned()));
    lines.collect()
}

#[tokio::test]
async fn a_filter_says_once_what_it_is_configured_as() -> Result<()> {
    let spec = FleetSpec { edge_workers: WORKERS, node_workers: WORKERS, ..FleetSpec::default() };
    let fleet = Fleet::start(spec).await?;
    let edge = said(&fleet.edges()[0].envoy);
    assert_eq!(edge.len(), 2, "one for each role: {edge:#?}");
    let http = r#"lb filter: {"role": "http", "id": "edge-1", "pool": "default", "#;
    assert!(edge.iter().any(|line| line.starts_with(http)), "{edge:#?}");
    let connection = r#"lb filter: {"role": "connection", "#;
    assert!(edge.iter().any(|line| line.starts_with(connection)), "{edge:#?}");
    let node = said(&fleet.nodes()[0].envoy);
    assert_eq!(node.len(), 1, "{node:#?}");
    assert!(node[0].starts_with(r#"node filter: {"mode": "enforce", "#), "{node:#?}");
    Ok(())
}

#[tokio::test]
async fn it_says_nothing_of_requests_and_closes() -> Result<()> {
    let spec = FleetSpec { edge_workers: WORKERS, ..FleetSpec::default().closing_everything() };
    let fleet = Fleet::start(spec).await?;
    warm_up(&fleet).await?;
    let edge = &fleet.edges()[0].envoy;
    let before = edge.log_text();
    let paths = ["/"; 50];
    eventually("many are closed", || async {
        curl(&fleet, false, Http::One, &[], &paths).await?;
        Ok(lb(edge, "closes_announced.http1").await? >= 20)
    })
    .await;
    assert_eq!(edge.log_text(), before);
    Ok(())
}

/// Has edges open a connection to their nodes for each request, so that each worker of a node hears
/// from all of them.
fn over_connections_of_their_own(edge: &mut Bootstrap) -> Result<()> {
    edge.upstream_protocol(&json!({ "http_protocol_options": {} }))?;
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let place = format!("/static_resources/clusters/0/typed_extension_protocol_options/{options}");
    edge.at(&place)?["common_http_protocol_options"] = json!({ "max_requests_per_connection": 1 });
    Ok(())
}

#[tokio::test]
async fn a_change_of_a_pool_is_said_once_by_all_workers_together() -> Result<()> {
    let spec = FleetSpec {
        node_workers: WORKERS,
        node_weights: vec![1],
        // Nobody is moved: what is uneven stays so.
        node: json!({ "mode": "observe", "share_window": "1s" }),
        edge_changes: over_connections_of_their_own,
        ..rebalancing(2)
    };
    let fleet = Fleet::start(spec).await?;
    fleet.set_dns_weights(&[7, 1]);
    let _clients = mixed_clients(&fleet, 120, 2, Pace::PerSecond(2.0))?;
    eventually("each worker sees it", || async {
        Ok(gauge(&fleet, "pools_closing").await? == [u64::from(WORKERS)])
    })
    .await;
    let said = said(&fleet.nodes()[0].envoy);
    let change = "node filter: pool default: uneven, closing connections";
    assert_eq!(said.iter().filter(|line| *line == change).count(), 1, "{said:#?}");
    Ok(())
}
