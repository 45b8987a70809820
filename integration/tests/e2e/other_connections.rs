//! A close request may name a connection other than that of its response, on the same worker or
//! on another: that one is closed with its next response, and not before.

use anyhow::Result;
use integration::fleet::{Fleet, FleetSpec};

use crate::support::{Http, Session, eventually, lb, puppet};

/// Two connections to an edge with two workers, on the same one or on different ones.
async fn pair(fleet: &Fleet, http: Http, same_worker: bool) -> Result<(Session, Session)> {
    let mut one = Session::open(fleet, http).await?;
    let worker = one.position().await?.vm;
    // The kernel spreads connections over workers.
    for _ in 0..100 {
        let mut other = Session::open(fleet, http).await?;
        if (other.position().await?.vm == worker) == same_worker {
            return Ok((one, other));
        }
    }
    anyhow::bail!("of 100 connections none came to the worker wanted")
}

async fn closes_the_other(native_drain: bool, same_worker: bool) -> Result<()> {
    let spec = FleetSpec {
        native_drain,
        edge_workers: 2,
        node_filter: false,
        application: puppet(),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    for (http, admitted) in [(Http::One, 1), (Http::Two, 2)] {
        let (mut one, mut other) = pair(&fleet, http, same_worker).await?;
        let target = other.position().await?;
        let path = format!("/close/{}/{}", target.vm, target.connection);
        one.get(&path).await?;
        eventually("the close is admitted", || async {
            Ok(lb(edge, "closes_admitted").await? == admitted)
        })
        .await;
        assert!(other.is_open(), "{http:?}: closed before its next response");
        assert!(one.get("/stamp").await?.1.is_none(), "{http:?}: the wrong one is told to close");
        let (_, connection) = other.get("/stamp").await?;
        if http == Http::One {
            assert_eq!(connection.as_deref(), Some("close"));
        }
        eventually("the client leaves the connection", || async { Ok(!other.is_open()) }).await;
        assert!(one.is_open());
    }
    // Each worker's counters arrive with its own ticks.
    eventually("both workers have counted", || async {
        Ok(lb(edge, "closes_requested").await? == 2)
    })
    .await;
    let handed_over = if same_worker { 0 } else { 2 };
    assert_eq!(lb(edge, "closes_handed_over").await?, handed_over);
    assert_eq!(lb(edge, "host_errors").await?, 0);
    Ok(())
}

#[tokio::test]
async fn on_the_same_worker() -> Result<()> {
    closes_the_other(false, true).await
}

#[tokio::test]
async fn on_another_worker() -> Result<()> {
    closes_the_other(false, false).await
}

#[tokio::test]
async fn on_another_worker_by_native_drain() -> Result<()> {
    closes_the_other(true, false).await
}

#[tokio::test]
async fn one_that_is_gone_is_refused() -> Result<()> {
    let spec = FleetSpec { node_filter: false, application: puppet(), ..FleetSpec::default() };
    let fleet = Fleet::start(spec).await?;
    let mut session = Session::open(&fleet, Http::One).await?;
    let position = session.position().await?;
    session.get(&format!("/close/{}/999999", position.vm)).await?;
    // A VM from before a restart of the edge.
    session.get(&format!("/close/v0123456789abcdef/{}", position.connection)).await?;
    let edge = &fleet.edges()[0].envoy;
    eventually("both are refused", || async {
        Ok(lb(edge, "closes_refused.unknown_connection").await? == 2)
    })
    .await;
    assert!(session.get("/stamp").await?.1.is_none());
    Ok(())
}
