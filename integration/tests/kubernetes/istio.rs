//! Gateways and sidecars with what Istio makes of `envoy-configs/istio`, on real Envoys.

use anyhow::{Context, Result};
use integration::fleet::{Bootstrap, Fleet, FleetSpec};
use integration::testing::{Http, curl, eventually, gauge, lb, node, warm_up};
use serde_json::{Value, json};

use crate::istio_makes::{
    GATEWAY_ENVIRONMENT, GATEWAY_ID, gateway, http_plugin, network_plugin, patch, sidecar,
};
use crate::manifests::manifest;
use crate::support::{
    clients_lose_nothing, closing_everything, curl_is_told, merge, set, stamps, unlimited,
};

fn both_plugins(edge: &mut Bootstrap) -> Result<()> {
    gateway(edge)?;
    network_plugin(edge, "spillway-connection", &json!({}))?;
    http_plugin(edge, "spillway-http", &unlimited())
}

fn http_plugin_and_native_drain(edge: &mut Bootstrap) -> Result<()> {
    gateway(edge)?;
    http_plugin(edge, "spillway-http", &unlimited())?;
    patch(edge, "spillway-native-drain")
}

fn mesh(edge_changes: fn(&mut Bootstrap) -> Result<()>) -> FleetSpec {
    FleetSpec {
        edge_workers: 2,
        edge_changes,
        node_changes: |node| sidecar(node, &closing_everything()),
        environment: GATEWAY_ENVIRONMENT,
        application: stamps(),
        ..FleetSpec::default()
    }
}

#[tokio::test]
async fn the_two_plugins_of_a_gateway_share_their_vms_and_close() -> Result<()> {
    let fleet = Fleet::start(mesh(both_plugins)).await?;
    warm_up(&fleet).await?;
    curl_is_told(&fleet, GATEWAY_ID).await?;
    clients_lose_nothing(&fleet, &["http1", "http2"]).await?;
    // One for each worker and two on the main thread; two VMs each would be eight.
    let stats = fleet.edges()[0].envoy.stats().await?;
    assert_eq!(stats.gauge("wasm.envoy.wasm.runtime.v8.active"), 4);
    Ok(())
}

#[tokio::test]
async fn native_drain_closes_without_the_network_plugin() -> Result<()> {
    let fleet = Fleet::start(mesh(http_plugin_and_native_drain)).await?;
    warm_up(&fleet).await?;
    curl_is_told(&fleet, GATEWAY_ID).await?;
    clients_lose_nothing(&fleet, &["native_drain"]).await
}

#[tokio::test]
async fn beside_native_drain_the_network_plugin_closes_what_it_can() -> Result<()> {
    let spec = mesh(|edge| {
        both_plugins(edge)?;
        patch(edge, "spillway-native-drain")
    });
    let fleet = Fleet::start(spec).await?;
    warm_up(&fleet).await?;
    curl_is_told(&fleet, GATEWAY_ID).await?;
    assert_eq!(lb(&fleet.edges()[0].envoy, "closes_announced.native_drain").await?, 0);
    Ok(())
}

/// Plugins arrive one by one, and an image may not be there: it must not go unsaid.
#[tokio::test]
async fn a_plugin_alone_says_that_nothing_is_closed() -> Result<()> {
    let spec = mesh(|edge| {
        gateway(edge)?;
        network_plugin(edge, "spillway-connection", &json!({}))
    });
    let fleet = Fleet::start(spec).await?;
    curl(&fleet, false, Http::One, &[], &["/"]).await?;
    let edge = &fleet.edges()[0].envoy;
    eventually("it is counted", || async {
        Ok(lb(edge, "connections_without_http_role").await? > 0)
    })
    .await;
    assert!(edge.log_text().contains("the connection role has no HTTP role in its VM"));
    Ok(())
}

#[tokio::test]
async fn a_gateway_without_traffic_is_announced_under_the_id_of_its_stamps() -> Result<()> {
    let spec = mesh(|edge| {
        both_plugins(edge)?;
        patch(edge, "spillway-announce")?;
        let check = edge.at("/static_resources/clusters/0/health_checks/0")?;
        set(check, &json!({ "interval": "1s", "no_traffic_interval": "1s" }));
        Ok(())
    });
    let fleet = Fleet::start(spec).await?;
    let envoy = &fleet.nodes()[0].envoy;
    eventually("it is announced", || async { Ok(node(envoy, "announcements").await? > 1) }).await;
    assert_eq!(gauge(&fleet, "load_balancers").await?, [1]);
    let stamped = curl(&fleet, false, Http::One, &[], &["/"]).await?;
    assert!(stamped.bodies.contains(GATEWAY_ID), "{}", stamped.bodies);
    eventually("the request is counted", || async {
        Ok(node(envoy, "requests_stamped").await? == 1)
    })
    .await;
    let before = node(envoy, "announcements").await?;
    eventually("it is announced again", || async {
        Ok(node(envoy, "announcements").await? > before + 1)
    })
    .await;
    // One and the same.
    assert_eq!(gauge(&fleet, "load_balancers").await?, [1]);
    assert_eq!(node(envoy, "stamps_malformed").await?, 0);
    Ok(())
}

/// The longest that pods and namespaces may be called.
#[tokio::test]
async fn the_longest_node_id_of_istio_is_a_load_balancer_id() -> Result<()> {
    fn long() -> String {
        let (pod, namespace) = ("p".repeat(63), "n".repeat(63));
        let address = "fd00:1111:2222:3333:4444:5555:6666:7777";
        format!("router~{address}~{pod}.{namespace}~{namespace}.svc.cluster.local")
    }
    let spec = mesh(|edge| {
        both_plugins(edge)?;
        set(edge.at("/node")?, &json!({ "id": long() }));
        Ok(())
    });
    let fleet = Fleet::start(spec).await?;
    warm_up(&fleet).await?;
    curl_is_told(&fleet, &long()).await
}

/// Istio has nothing stand in for a plugin whose configuration is refused before there was a good
/// one: it denies everything, whatever the failStrategy. The documentation warns of it.
#[tokio::test]
async fn a_plugin_that_is_refused_at_first_fails_requests() -> Result<()> {
    let spec = mesh(|edge| {
        gateway(edge)?;
        http_plugin(edge, "spillway-http", &json!({ "mode": "none" }))
    });
    let fleet = Fleet::start(spec).await?;
    let refused = curl(&fleet, false, Http::One, &[], &["/"]).await.err().context("no failure")?;
    assert!(format!("{refused:#}").contains("500"), "{refused:#}");
    let log = fleet.edges()[0].envoy.log_text();
    assert!(log.contains("mode: \"none\": must be \"enforce\" or \"observe\""), "{log}");
    Ok(())
}

#[tokio::test]
async fn metrics_pass_what_istio_keeps_and_have_labels_with_the_tags() -> Result<()> {
    let spec = mesh(|edge| {
        both_plugins(edge)?;
        let tags = manifest("istio", "spillway-stats-tags")?;
        let tags = tags["data"]["custom_bootstrap.json"].as_str().context("no bootstrap")?;
        // Envoy gets it as --config-yaml, which it merges with the rest.
        merge(edge.at("")?, &serde_json::from_str::<Value>(tags)?);
        Ok(())
    });
    let fleet = Fleet::start(spec).await?;
    let text = fleet.edges()[0].envoy.prometheus().await?;
    for metric in [
        "spillway_lb_requests_stamped{",
        "spillway_lb_closes_refused{reason=\"over_limit\"}",
        "spillway_lb_closes_announced{way=\"http2\"}",
    ] {
        assert!(text.contains(metric), "no {metric} in\n{text}");
    }
    Ok(())
}
