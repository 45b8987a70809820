//! Several load balancers in a row: an edge, a gateway that is a node to it, and a node.
//!
//! On the gateway the node's filter stands first and the HTTP role behind it: so the edge's stamp is
//! read before it is replaced, and the node's close request is taken off before the gateway puts on
//! its own.

use std::net::SocketAddr;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use integration::client::{ClientPool, LongLivedClient, Pace, Protocol};
use integration::fleet::{Bootstrap, Endpoint, Fleet, FleetSpec, NAME};
use serde_json::json;

use crate::support::{eventually, lb};

/// Where the edge finds the gateway.
static GATEWAY: OnceLock<SocketAddr> = OnceLock::new();

fn node_to_the_edge(gateway: &mut Bootstrap) -> Result<()> {
    let mut filter = Bootstrap::shipped("node.yaml")?.filter("spillway.node")?.clone();
    let config = &mut filter["typed_config"]["config"];
    let own = gateway.filter("spillway.http")?["typed_config"]["config"]["vm_config"].clone();
    let module = own["code"]["local"]["filename"].as_str().context("no module")?;
    let module = module.replace("lb_filter", "node_filter");
    config["vm_config"]["code"]["local"]["filename"] = json!(module);
    let closing = FleetSpec::default().closing_everything().node;
    config["configuration"]["value"] = json!(closing.to_string());
    gateway.http_filters()?.insert(0, filter);
    Ok(())
}

fn in_front_of_the_gateway(edge: &mut Bootstrap) -> Result<()> {
    let address = *GATEWAY.get().context("the gateway comes first")?;
    edge.upstreams(&[Endpoint { address, weight: 1 }])
}

#[tokio::test]
async fn each_acts_on_its_own_close_requests_only() -> Result<()> {
    let gateways = FleetSpec {
        edge_changes: node_to_the_edge,
        http: json!({ "id": "gateway", "max_closes_per_second": 100_000 }),
        ..FleetSpec::default()
    };
    let node = FleetSpec::default().closing_everything().node;
    let gateways = Fleet::start(FleetSpec { node, ..gateways }).await?;
    GATEWAY.set(gateways.edges()[0].address).ok().context("set before")?;
    let spec = FleetSpec { edge_changes: in_front_of_the_gateway, ..FleetSpec::default() };
    let edges = Fleet::start(spec.closing_everything()).await?;
    let spec = |number| {
        let protocol = match number % 2 {
            0 => Protocol::Http1,
            _ => Protocol::Http2 { concurrent_streams: 4 },
        };
        LongLivedClient::new(protocol, Pace::PerSecond(50.0), NAME.trim_end_matches('.'))
    };
    let clients = ClientPool::start(4, spec, &edges.resolver()?, edges.port())?;
    let (edge, gateway) = (&edges.edges()[0].envoy, &gateways.edges()[0].envoy);
    for (envoy, way) in [(edge, "http1"), (edge, "http2"), (gateway, "http1")] {
        let counter = format!("closes_announced.{way}");
        eventually(&format!("{} closes over {way}", envoy.name()), || async {
            Ok(lb(envoy, &counter).await? >= 5)
        })
        .await;
    }
    let totals = clients.stop().await;
    assert_eq!(totals.failed, 0, "{:?}", totals.failures);
    assert!(totals.closes_seen >= 10, "{totals:?}");
    for envoy in [edge, gateway] {
        assert_eq!(lb(envoy, "closes_refused.other_load_balancer").await?, 0);
        assert_eq!(lb(envoy, "close_requests_malformed").await?, 0);
        assert_eq!(lb(envoy, "host_errors").await?, 0);
    }
    Ok(())
}
