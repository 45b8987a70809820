//! Gateways with what Envoy Gateway makes of `envoy-configs/envoy-gateway`, on real Envoys.

use anyhow::{Context, Result};
use hyper::Response;
use integration::application::{Application, Body};
use integration::artifacts::filters;
use integration::fleet::{Bootstrap, Fleet, FleetSpec, StartApplication};
use integration::testing::{Http, curl, eventually, gauge, node, warm_up};
use serde_json::json;
use tokio::process::Command;

use crate::gateway_makes::{GATEWAY_ENVIRONMENT, GATEWAY_ID, announce, extend, gateway};
use crate::support::{clients_lose_nothing, closing_everything, curl_is_told, set, unlimited};

/// Answers with the stamp of the request, and serves the modules as Envoy Gateway does.
fn serving_modules() -> StartApplication {
    StartApplication(|address| {
        Box::pin(Application::serve(address, |request| async move {
            if let Some(module) = request.uri().path().strip_suffix(".wasm") {
                let directory = filters().expect("they are built").directory;
                let module = directory.join(format!("{}.wasm", module.trim_start_matches('/')));
                return Response::new(Body::from(std::fs::read(module).expect("it is there")));
            }
            let stamp = request.headers().get("spillway-lb").map(|stamp| stamp.as_bytes().to_vec());
            Response::new(Body::from(stamp.unwrap_or_default()))
        }))
    })
}

fn closing_gateway(edge: &mut Bootstrap) -> Result<()> {
    gateway(edge, &unlimited())
}

fn cluster(edge_changes: fn(&mut Bootstrap) -> Result<()>) -> FleetSpec {
    FleetSpec {
        edge_workers: 2,
        edge_changes,
        node: closing_everything(),
        environment: GATEWAY_ENVIRONMENT,
        application: serving_modules(),
        ..FleetSpec::default()
    }
}

#[tokio::test]
async fn a_gateway_closes_by_native_drain() -> Result<()> {
    let fleet = Fleet::start(cluster(closing_gateway)).await?;
    warm_up(&fleet).await?;
    curl_is_told(&fleet, GATEWAY_ID).await?;
    clients_lose_nothing(&fleet, &["native_drain"]).await
}

#[tokio::test]
async fn an_inner_gateway_is_the_node() -> Result<()> {
    let spec = FleetSpec {
        node_changes: |node| {
            node.without("spillway.node")?;
            extend(node, "spillway-node", &closing_everything())
        },
        ..cluster(closing_gateway)
    };
    let fleet = Fleet::start(spec).await?;
    warm_up(&fleet).await?;
    curl_is_told(&fleet, GATEWAY_ID).await
}

#[tokio::test]
async fn a_gateway_without_traffic_is_announced_under_the_id_of_its_stamps() -> Result<()> {
    let spec = cluster(|edge| {
        closing_gateway(edge)?;
        announce(edge)?;
        let check = edge.at("/static_resources/clusters/0/health_checks/0")?;
        set(check, &json!({ "interval": "1s", "no_traffic_interval": "1s" }));
        Ok(())
    });
    let fleet = Fleet::start(spec).await?;
    let envoy = &fleet.nodes()[0].envoy;
    eventually("it is announced", || async { Ok(node(envoy, "announcements").await? > 1) }).await;
    let stamped = curl(&fleet, false, Http::One, &[], &["/"]).await?;
    assert!(stamped.bodies.contains(GATEWAY_ID), "{}", stamped.bodies);
    eventually("the request is counted", || async {
        Ok(node(envoy, "requests_stamped").await? == 1)
    })
    .await;
    // One and the same.
    assert_eq!(gauge(&fleet, "load_balancers").await?, [1]);
    assert_eq!(node(envoy, "stamps_malformed").await?, 0);
    Ok(())
}

/// The stamp that a request to the first edge gets at the port that is so many further.
async fn stamp_at(fleet: &Fleet, further: u16) -> Result<String> {
    let ip = fleet.edges()[0].ip();
    let url = format!("http://{ip}:{}/", fleet.port() + further);
    let output = Command::new("curl").args(["--silent", "--show-error", "--fail", &url]).output();
    let output = output.await?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Envoy gets the same module for both at the same time.
#[tokio::test]
async fn two_listeners_of_a_gateway_have_the_filter() -> Result<()> {
    let spec = cluster(|edge| {
        closing_gateway(edge)?;
        let listeners = edge.at("/static_resources/listeners")?;
        let listeners = listeners.as_array_mut().context("no listeners")?;
        let mut second = listeners.first().context("no listener")?.clone();
        set(&mut second, &json!({ "name": "second" }));
        let port = second.pointer_mut("/address/socket_address/port_value").context("no port")?;
        *port = (port.as_u64().context("no number")? + 1).into();
        listeners.push(second);
        Ok(())
    });
    let fleet = Fleet::start(spec).await?;
    for further in [0, 1] {
        let stamp = stamp_at(&fleet, further).await?;
        assert!(stamp.contains(GATEWAY_ID), "{further}: {stamp}");
    }
    Ok(())
}
