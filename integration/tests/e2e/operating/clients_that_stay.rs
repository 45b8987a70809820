//! Clients that are told and do not go, and close requests that are for others or come too late.

use anyhow::{Context, Result};
use integration::fleet::{Fleet, FleetSpec};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Http, PATIENCE, Session, curl, eventually, get_and_stay, lb, puppet};

/// The connection is closed in order.
async fn is_closed(stream: &mut TcpStream) -> Result<()> {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.context("never closed")??;
    Ok(())
}

#[tokio::test]
async fn they_are_closed_and_counted_and_what_is_not_for_this_edge_is_refused() -> Result<()> {
    let spec = FleetSpec {
        discovered: true,
        node_filter: false,
        application: puppet(),
        connection: json!({ "drain_timeout": "200ms" }),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    let counted = async |name: &str, count: u64| {
        eventually(&format!("{name} is {count}"), || async { Ok(lb(edge, name).await? == count) })
            .await;
    };

    // A client that takes no notice, and falls silent.
    for closes in 1..=2 {
        let mut stream = TcpStream::connect(fleet.edges()[0].address).await?;
        assert!(get_and_stay(&mut stream, "/own").await?.contains("connection: close"));
        is_closed(&mut stream).await?;
        counted("closes_announced.http1", closes).await;
        counted("connections_closed", closes).await;
    }
    // One that goes: it is told, and there is nothing to close.
    curl(&fleet, false, Http::One, &[], &["/own", "/stamp"]).await?;
    counted("closes_announced.http1", 3).await;
    counted("connections_open", 0).await;
    assert_eq!(lb(edge, "connections_closed").await?, 2);

    let mut session = Session::open(&fleet, Http::One).await?;
    session.get("/other-edge").await?;
    counted("closes_refused.other_load_balancer", 1).await;
    let gone = session.position().await?;
    session.get(&format!("/close/{}/999999", gone.vm)).await?;
    counted("closes_refused.unknown_connection", 1).await;
    assert!(session.get("/stamp").await?.1.is_none(), "nothing of it closes this one");

    // A response that takes longer than is allowed now.
    assert_eq!(lb(edge, "connections_cut").await?, 0);
    let limited = json!({ "drain_timeout": "100ms", "max_drain": "500ms" });
    fleet.filters_of("edge-1")?.deliver("spillway.connection", &limited)?;
    eventually("it is taken", || async {
        let name = "extension_config_discovery.network_filter.spillway.connection.config_reload";
        Ok(edge.stats().await?.counter(name) == 2)
    })
    .await;
    let mut stream = TcpStream::connect(fleet.edges()[0].address).await?;
    assert!(get_and_stay(&mut stream, "/own").await?.contains("connection: close"));
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await?;
    is_closed(&mut stream).await?;
    counted("connections_cut", 1).await;
    Ok(())
}
