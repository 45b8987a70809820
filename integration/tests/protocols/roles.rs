//! Roles that do not find each other: the other way closes, or it is said that nothing does.

use anyhow::Result;
use integration::by_hand::Frames;
use integration::envoy::Envoy;
use integration::fleet::{Bootstrap, Fleet, FleetSpec};
use serde_json::json;

use crate::support::{Http, at_its_mercy, curl, eventually, has_told, lb};

const DRAIN: &str = "function envoy_on_response(handle)
  local info = handle:streamInfo()
  if info:filterState():get(\"wasm.spillway_close\") then info:drainConnectionUponCompletion() end
end";

const NOBODY_ASKS: &str = "the connection role has no HTTP role in its VM";
const NOBODY_CLOSES: &str = "connections cannot be closed";

fn vms_apart(edge: &mut Bootstrap) -> Result<()> {
    edge.filter("spillway.http")?["typed_config"]["config"]["vm_config"]["vm_id"] = json!("other");
    Ok(())
}

fn without_connection_role(edge: &mut Bootstrap) -> Result<()> {
    edge.without("spillway.connection")
}

/// The warning is in the log, once.
fn said_once(edge: &Envoy, warning: &str) {
    let log = edge.log_text();
    assert_eq!(log.matches(warning).count(), 1, "{log}");
    assert!(log.lines().any(|line| line.contains("[warning]") && line.contains(warning)), "{log}");
}

#[tokio::test]
async fn vms_apart_close_by_native_drain() -> Result<()> {
    let spec =
        FleetSpec { edge_changes: vms_apart, edge_lua: Some(DRAIN.into()), ..at_its_mercy() };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    let one = curl(&fleet, false, Http::One, &[], &["/1", "/close/2", "/3"]).await?;
    assert_eq!((one.connections(), one.headers("connection")), (2, vec!["close"]));
    let two = curl(&fleet, false, Http::Two, &[], &["/close/1"]).await?;
    assert_eq!((two.bodies.as_str(), two.goaways()), ("</close/1>", 1), "{}", two.verbose);
    has_told(edge, "native_drain", 2).await?;
    assert_eq!(lb(edge, "closes_not_done").await?, 0);
    eventually("what the connection role misses is counted", || async {
        Ok(lb(edge, "connections_without_http_role").await? >= 3)
    })
    .await;
    said_once(edge, NOBODY_ASKS);
    assert!(!edge.log_text().contains(NOBODY_CLOSES));
    Ok(())
}

#[tokio::test]
async fn vms_apart_without_native_drain_say_that_nothing_closes() -> Result<()> {
    let spec = FleetSpec { edge_changes: vms_apart, edge_workers: 2, ..at_its_mercy() };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    // On whatever worker: it is said once for all.
    for _ in 0..8 {
        let curl = curl(&fleet, false, Http::One, &[], &["/close/1", "/close/2", "/3"]).await?;
        assert_eq!((curl.connections(), curl.bodies.as_str()), (1, "</close/1></close/2></3>"));
    }
    eventually("each is counted", || async { Ok(lb(edge, "closes_not_done").await? == 16) }).await;
    said_once(edge, NOBODY_CLOSES);
    said_once(edge, NOBODY_ASKS);
    Ok(())
}

#[tokio::test]
async fn an_http_role_alone_without_native_drain_says_that_nothing_closes() -> Result<()> {
    let spec = FleetSpec {
        native_drain: false,
        edge_changes: without_connection_role,
        http: json!({ "drain_timeout": "200ms" }),
        ..at_its_mercy()
    };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut client = Frames::open(&fleet).await?;
    client.get(1, "/close/1").await?;
    // As long as a drain may take, requests are no sign; this one lasts longer than that.
    client.get(3, "/slow").await?;
    client.until(|frame| frame.stream == 3 && frame.ends_stream()).await?;
    assert_eq!(lb(edge, "closes_not_done").await?, 0);
    client.get(5, "/5").await?;
    client.until(|frame| frame.stream == 5 && frame.ends_stream()).await?;
    assert_eq!(client.body(5), "</5>");
    assert!(client.goaways().is_empty());
    eventually("it is counted", || async { Ok(lb(edge, "closes_not_done").await? == 1) }).await;
    said_once(edge, NOBODY_CLOSES);
    Ok(())
}

#[tokio::test]
async fn a_connection_role_alone_says_that_nobody_asks_it() -> Result<()> {
    let spec = FleetSpec { edge_changes: |edge| edge.without("spillway.http"), ..at_its_mercy() };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    for _ in 0..2 {
        let curl = curl(&fleet, false, Http::One, &[], &["/1", "/2"]).await?;
        assert_eq!((curl.connections(), curl.bodies.as_str()), (1, "</1></2>"));
    }
    eventually("they are counted", || async {
        Ok(lb(edge, "connections_without_http_role").await? == 2)
    })
    .await;
    said_once(edge, NOBODY_ASKS);
    Ok(())
}

/// Every request passes, from the first one on, and what is wrong is counted and said.
async fn passes(edge_changes: fn(&mut Bootstrap) -> Result<()>, misplaced: u64) -> Result<()> {
    let fleet = Fleet::start(FleetSpec { edge_changes, ..at_its_mercy() }).await?;
    let edge = &fleet.edges()[0].envoy;
    for _ in 0..2 {
        let curl = curl(&fleet, false, Http::One, &[], &["/1", "/2"]).await?;
        assert_eq!((curl.connections(), curl.bodies.as_str()), (1, "</1></2>"));
    }
    eventually("they are counted", || async {
        Ok(lb(edge, "streams_misplaced").await? == misplaced)
    })
    .await;
    said_once(edge, "a filter's role does not fit its place");
    assert!(!edge.log_text().contains("[critical]"), "{}", edge.log_text());
    Ok(())
}

#[tokio::test]
async fn a_network_filter_that_is_not_told_its_role_lets_all_pass() -> Result<()> {
    passes(|edge| edge.raw_configuration("spillway.connection", "{}"), 2).await
}

#[tokio::test]
async fn an_http_filter_in_the_connection_role_lets_all_pass() -> Result<()> {
    let connection = |edge: &mut Bootstrap| {
        edge.without("spillway.connection")?;
        edge.raw_configuration("spillway.http", r#"{ "role": "connection" }"#)
    };
    passes(connection, 4).await
}
