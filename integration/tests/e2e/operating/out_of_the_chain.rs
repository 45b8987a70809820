//! Filters that are not where they belong.

use anyhow::Result;
use integration::envoy::{Admin, Envoy};
use integration::fleet::{Bootstrap, Fleet, FleetSpec};
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::{Http, curl, eventually, get_and_stay, lb, node, puppet};

async fn has_spillway(envoy: &Envoy) -> Result<bool> {
    Ok(Admin::at(envoy.admin_address()).get("/config_dump").await?.contains("spillway.http"))
}

/// Requests pass an edge that has no filter in its chain, and come to the node without a stamp.
#[tokio::test]
async fn without_the_http_role_nothing_is_stamped_and_nodes_see_it() -> Result<()> {
    let fleet = Fleet::start(FleetSpec { edge_filters: false, ..FleetSpec::default() }).await?;
    let edge = &fleet.edges()[0].envoy;
    curl(&fleet, false, Http::One, &[], &["/"; 5]).await?;
    let envoy = &fleet.nodes()[0].envoy;
    eventually("the node counts them", || async {
        Ok(node(envoy, "requests_unstamped").await? == 5)
    })
    .await;
    assert_eq!(lb(edge, "requests").await?, 0);
    assert!(!has_spillway(edge).await?);

    // The control: as shipped it is there, stamps, and nothing comes without a stamp.
    let fleet = Fleet::start(FleetSpec::default()).await?;
    let edge = &fleet.edges()[0].envoy;
    curl(&fleet, false, Http::One, &[], &["/"; 5]).await?;
    eventually("both count them", || async {
        let envoy = &fleet.nodes()[0].envoy;
        Ok(lb(edge, "requests").await? == 5 && node(envoy, "requests_stamped").await? == 5)
    })
    .await;
    assert_eq!(node(&fleet.nodes()[0].envoy, "requests_unstamped").await?, 0);
    assert!(has_spillway(edge).await?);
    Ok(())
}

fn vms_apart(edge: &mut Bootstrap) -> Result<()> {
    edge.filter("spillway.http")?["typed_config"]["config"]["vm_config"]["vm_id"] = json!("other");
    Ok(())
}

/// Neither has the connection role an HTTP role in its VM, nor does Envoy drain: a client that was to
/// be told is not.
#[tokio::test]
async fn roles_in_vms_apart_and_no_native_drain_are_counted() -> Result<()> {
    let spec = FleetSpec {
        edge_changes: vms_apart,
        node_filter: false,
        application: puppet(),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut stream = TcpStream::connect(fleet.edges()[0].address).await?;
    for path in ["/own", "/stamp", "/stamp"] {
        assert!(!get_and_stay(&mut stream, path).await?.contains("connection: close"));
    }
    eventually("both are counted", || async {
        Ok(lb(edge, "connections_without_http_role").await? == 1
            && lb(edge, "closes_not_done").await? == 1)
    })
    .await;
    Ok(())
}
