//! The two headers are between edge and node: nobody else reads or writes them.

use anyhow::Result;
use hyper::Response;
use integration::application::{Application, Body};
use integration::fleet::{Fleet, FleetSpec, StartApplication};
use redistribution::wire::Stamp;
use serde_json::{Value, json};

use crate::support::{Http, curl, eventually, lb, node, warm_up};

fn closing_by_itself() -> StartApplication {
    StartApplication(|address| {
        Box::pin(Application::serve(address, |_| async {
            Response::builder()
                .header("spillway-close", "lb=\"edge-1\", conns=(0;vm=a 1;vm=a)")
                .header("spillway-close", "lb=\"edge-1\", conns=(2;vm=a)")
                .body(Body::from("done"))
                .unwrap_or_default()
        }))
    })
}

fn nothing_to_close() -> Value {
    json!({ "close_rate": { "per_second": 0 } })
}

#[tokio::test]
async fn a_client_that_stamps_changes_nothing() -> Result<()> {
    let application = StartApplication(|address| Box::pin(Application::echo_headers(address)));
    let fleet = Fleet::start(FleetSpec { application, ..FleetSpec::default() }).await?;
    let forged = [
        "-H",
        "spillway-lb: id=\"forged\", vm=x, seq=999, conn=9",
        "-H",
        "Spillway-LB: id=\"forged-again\", vm=x, seq=999, conn=9",
    ];
    for http in [Http::One, Http::Two] {
        let curl = curl(&fleet, false, http, &forged, &["/"]).await?;
        let seen: Value = serde_json::from_str(&curl.bodies)?;
        let stamps = seen["spillway-lb"].as_array().cloned().unwrap_or_default();
        let stamps: Vec<_> = stamps.iter().filter_map(Value::as_str).collect();
        assert_eq!(stamps.len(), 1, "{stamps:?}");
        let stamp = Stamp::parse(stamps[0].as_bytes())?;
        assert_eq!(stamp.id, "edge-1");
        assert!(stamp.position.is_some_and(|position| position.seq < 999));
        assert!(curl.headers("spillway-lb").is_empty(), "{}", curl.verbose);
    }
    Ok(())
}

#[tokio::test]
async fn an_application_that_asks_for_closes_changes_nothing() -> Result<()> {
    let spec = FleetSpec {
        application: closing_by_itself(),
        tls: true,
        node: nothing_to_close(),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    for http in [Http::One, Http::Two] {
        let curl = curl(&fleet, true, http, &[], &["/1", "/2"]).await?;
        assert_eq!(curl.bodies, "donedone");
        assert_eq!(curl.connections(), 1);
        assert!(curl.headers("spillway-close").is_empty(), "{}", curl.verbose);
    }
    // Counters arrive with the ticks of their filter: those of one tick together.
    let edge = &fleet.edges()[0].envoy;
    eventually("node and edge have counted the requests", || async {
        Ok(node(&fleet.nodes()[0].envoy, "requests_stamped").await? == 4
            && lb(edge, "requests_stamped").await? == 4)
    })
    .await;
    assert_eq!(lb(edge, "close_requests").await?, 0);
    Ok(())
}

#[tokio::test]
async fn an_edge_takes_off_what_a_node_without_the_filter_lets_through() -> Result<()> {
    let spec = FleetSpec {
        application: closing_by_itself(),
        tls: true,
        node_filter: false,
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    for http in [Http::One, Http::Two] {
        let curl = curl(&fleet, true, http, &[], &["/1", "/2"]).await?;
        assert_eq!(curl.connections(), 1);
        assert!(curl.headers("spillway-close").is_empty(), "{}", curl.verbose);
    }
    eventually("the edge has refused them", || async {
        let edge = &fleet.edges()[0].envoy;
        // The first header of each of the four responses, with two connections each.
        Ok(lb(edge, "closes_refused.unknown_connection").await? == 8)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn an_edge_without_traffic_is_announced_by_its_health_checks() -> Result<()> {
    let fleet = Fleet::start(FleetSpec::default()).await?;
    eventually("the node has heard of the edge", || async {
        let stats = fleet.nodes()[0].envoy.stats().await?;
        Ok(stats.counter("wasmcustom.spillway.node.announcements") > 0
            && stats.gauge("wasmcustom.spillway.node.load_balancers") > 0)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn close_requests_never_reach_a_client() -> Result<()> {
    let fleet = Fleet::start(FleetSpec::default().closing_everything()).await?;
    warm_up(&fleet).await?;
    let curl = curl(&fleet, false, Http::One, &[], &["/"; 20]).await?;
    assert!(curl.connections() > 1, "{}", curl.verbose);
    for header in ["spillway-close", "spillway-lb"] {
        assert!(curl.headers(header).is_empty(), "{}", curl.verbose);
    }
    Ok(())
}
