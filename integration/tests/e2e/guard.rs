//! An edge does not do all that a node asks.

use std::time::Duration;

use anyhow::Result;
use integration::client::{ClientPool, LongLivedClient, Pace, Protocol};
use integration::fleet::{Fleet, FleetSpec, NAME};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::support::{Http, Session, eventually, lb, node, puppet, some_of_a_core, warm_up};

fn at_the_mercy_of_its_node() -> FleetSpec {
    FleetSpec { edge_workers: 2, node_filter: false, application: puppet(), ..FleetSpec::default() }
}

#[tokio::test]
async fn the_limit_holds_over_all_workers() -> Result<()> {
    const LIMIT: f64 = 2.0;
    let _core = some_of_a_core().await;
    let spec =
        FleetSpec { http: json!({ "max_closes_per_second": LIMIT }), ..at_the_mercy_of_its_node() };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    // 100 requests a second, each of whose responses asks for a close.
    let spec = |_| LongLivedClient {
        path: "/own".into(),
        ..LongLivedClient::new(Protocol::Http1, Pace::PerSecond(5.0), NAME)
    };
    let clients = ClientPool::start(20, spec, &fleet.resolver()?, fleet.port())?;
    eventually("the limit is felt", || async {
        Ok(lb(edge, "closes_refused.over_limit").await? > 0)
    })
    .await;
    // Counters arrive with the edge's ticks: a tick more or less at either end.
    let (start, before) = (Instant::now(), lb(edge, "closes_admitted").await?);
    sleep_until(start + Duration::from_secs(10)).await;
    let closed = lb(edge, "closes_admitted").await? - before;
    let seconds = start.elapsed().as_secs_f64();
    let totals = clients.stop().await;
    let most = LIMIT * (seconds + 0.5) + 1.0;
    assert!(closed as f64 <= most, "{closed} closes in {seconds} s, not {most} at most");
    assert!(closed as f64 >= LIMIT * seconds * 0.7, "only {closed} closes in {seconds} s");
    assert_eq!(totals.failed, 0, "{:?}", totals.failures);
    Ok(())
}

#[tokio::test]
async fn a_close_request_for_another_edge_closes_nothing() -> Result<()> {
    let fleet = Fleet::start(at_the_mercy_of_its_node()).await?;
    for http in [Http::One, Http::Two] {
        let mut session = Session::open(&fleet, http).await?;
        assert!(session.get("/other-edge").await?.1.is_none());
        assert!(session.get("/stamp").await?.1.is_none());
        assert!(session.is_open());
    }
    let edge = &fleet.edges()[0].envoy;
    eventually("both are refused", || async {
        Ok(lb(edge, "closes_refused.other_load_balancer").await? == 2)
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn an_edge_that_observes_closes_nothing_and_counts() -> Result<()> {
    let spec = FleetSpec { http: json!({ "mode": "observe" }), ..at_the_mercy_of_its_node() };
    let fleet = Fleet::start(spec).await?;
    for http in [Http::One, Http::Two] {
        let mut session = Session::open(&fleet, http).await?;
        for _ in 0..3 {
            assert!(session.get("/own").await?.1.is_none());
        }
        assert!(session.is_open());
    }
    let edge = &fleet.edges()[0].envoy;
    eventually("all are counted", || async { Ok(lb(edge, "closes_observed").await? == 6) }).await;
    assert_eq!(lb(edge, "closes_admitted").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_node_that_observes_asks_for_nothing_and_counts() -> Result<()> {
    let mut spec = FleetSpec::default().closing_everything();
    spec.node["mode"] = json!("observe");
    let fleet = Fleet::start(spec).await?;
    let spec = |_| LongLivedClient::new(Protocol::Http1, Pace::PerSecond(20.0), NAME);
    let clients = ClientPool::start(2, spec, &fleet.resolver()?, fleet.port())?;
    let (edge, node_envoy) = (&fleet.edges()[0].envoy, &fleet.nodes()[0].envoy);
    eventually("the node has counted", || async {
        Ok(node(node_envoy, "closes_observed").await? > 0)
    })
    .await;
    let totals = clients.stop().await;
    assert_eq!((totals.connections_opened, totals.closes_seen, totals.failed), (2, 0, 0));
    eventually("the edge has counted all requests", || async {
        Ok(lb(edge, "requests").await? == totals.requests)
    })
    .await;
    assert_eq!(node(node_envoy, "closes_requested").await?, 0);
    assert_eq!(lb(edge, "close_requests").await?, 0);
    Ok(())
}

#[tokio::test]
async fn with_both_in_force_the_same_fleet_closes() -> Result<()> {
    // The control of the tests above.
    let fleet = Fleet::start(FleetSpec::default().closing_everything()).await?;
    warm_up(&fleet).await?;
    let edge = &fleet.edges()[0].envoy;
    eventually("the edge has counted", || async { Ok(lb(edge, "closes_admitted").await? > 0) })
        .await;
    Ok(())
}
