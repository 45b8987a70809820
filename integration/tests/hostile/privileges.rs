//! What Envoy does where a module is not allowed what it needs: `capability_restriction_config`.
//!
//! That the shipped configurations allow all that the modules have, and no more, `host_calls` shows;
//! and with these configurations run all other tests.

use anyhow::{Context, Result};
use integration::fleet::{Bootstrap, Fleet, FleetSpec};
use integration::testing::{Http, Session, curl, eventually, lb, node};
use serde_json::Value;

use crate::support::{at_its_mercy, counts};

/// The capabilities of a filter.
fn allowed<'b>(bootstrap: &'b mut Bootstrap, name: &str) -> Result<&'b mut Value> {
    let filter = bootstrap.filter(name)?;
    let list = "/typed_config/config/capability_restriction_config/allowed_capabilities";
    filter.pointer_mut(list).context("no capabilities")
}

/// Takes one away from both roles.
fn without(bootstrap: &mut Bootstrap, capability: &str) -> Result<()> {
    for name in ["spillway.http", "spillway.connection"] {
        let list = allowed(bootstrap, name)?.as_object_mut().context("no list")?;
        list.remove(capability).context("not there")?;
    }
    Ok(())
}

/// Requests over both protocols get their responses.
async fn requests_pass(fleet: &Fleet) -> Result<()> {
    for (http, paths) in [(Http::One, &["/"; 5][..]), (Http::Two, &["/"])] {
        let curl = curl(fleet, false, http, &[], paths).await?;
        assert_eq!(curl.connections(), 1, "{}", curl.verbose);
    }
    Ok(())
}

#[tokio::test]
async fn a_host_call_that_is_not_allowed_fails_and_costs_no_request() -> Result<()> {
    let spec = FleetSpec {
        edge_changes: |edge| without(edge, "proxy_replace_header_map_value"),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    requests_pass(&fleet).await?;
    let edge = &fleet.edges()[0].envoy;
    counts(edge, "host_errors", 6).await;
    let said = "Attempted call to restricted proxy-wasm capability: proxy_replace_header_map_value";
    assert!(edge.log_text().contains(said), "{}", edge.log_text());
    eventually("no stamp comes to the node", || async {
        Ok(node(&fleet.nodes()[0].envoy, "requests_unstamped").await? == 6)
    })
    .await;
    Ok(())
}

/// Nothing tells of it: so that the list is complete has to be tested.
#[tokio::test]
async fn a_callback_that_is_not_allowed_is_not_made() -> Result<()> {
    let spec = FleetSpec {
        edge_changes: |edge| without(edge, "proxy_on_request_headers"),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    requests_pass(&fleet).await?;
    let edge = &fleet.edges()[0].envoy;
    eventually("the node has had them", || async {
        Ok(node(&fleet.nodes()[0].envoy, "requests_unstamped").await? == 6)
    })
    .await;
    assert_eq!((lb(edge, "requests_stamped").await?, lb(edge, "host_errors").await?), (0, 0));
    Ok(())
}

/// Envoy 1.40 would have it in `vm_config`, and takes it there; older ones do not know it there.
fn within_vm_config(bootstrap: &mut Bootstrap) -> Result<()> {
    for name in ["spillway.http", "spillway.connection"] {
        let config = bootstrap.filter(name)?.pointer_mut("/typed_config/config");
        let config = config.context("no configuration")?.as_object_mut().context("no object")?;
        let list = config.remove("capability_restriction_config").context("no capabilities")?;
        config["vm_config"]["capability_restriction_config"] = list;
    }
    Ok(())
}

#[tokio::test]
async fn the_list_may_stand_in_the_vm_config() -> Result<()> {
    let fleet =
        Fleet::start(FleetSpec { edge_changes: within_vm_config, ..at_its_mercy() }).await?;
    closes_one(&fleet).await?;
    let edge = &fleet.edges()[0].envoy;
    assert!(!edge.log_text().contains("capability_restriction_config"), "{}", edge.log_text());
    Ok(())
}

/// The same list, or none, in both roles: else Envoy 1.40 runs them in VMs apart.
#[tokio::test]
async fn roles_with_different_lists_do_not_find_each_other() -> Result<()> {
    let changes = |edge: &mut Bootstrap| {
        let list = allowed(edge, "spillway.http")?.as_object_mut().context("no list")?;
        list.insert("proxy_done".into(), serde_json::json!({}));
        Ok(())
    };
    let fleet = Fleet::start(FleetSpec { edge_changes: changes, ..at_its_mercy() }).await?;
    requests_pass(&fleet).await?;
    let edge = &fleet.edges()[0].envoy;
    eventually("the edge says so", || async {
        Ok(lb(edge, "connections_without_http_role").await? == 2)
    })
    .await;
    Ok(())
}

/// A close over the connection role.
async fn closes_one(fleet: &Fleet) -> Result<()> {
    let mut session = Session::open(fleet, Http::One).await?;
    session.get("/").await?;
    let edge = &fleet.edges()[0].envoy;
    assert_eq!(lb(edge, "connections_without_http_role").await?, 0);
    let close = ["-H", "x-close: lb=\"edge-1\", conns=({own})"];
    let curl = curl(fleet, false, Http::One, &close, &["/", "/"]).await?;
    assert_eq!(curl.headers("connection"), ["close", "close"], "{}", curl.verbose);
    counts(edge, "closes_announced.http1", 2).await;
    Ok(())
}
