//! Upgraded connections are no longer HTTP: they are left alone, and counted.

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::client;
use hyper::Request;
use integration::fleet::{Bootstrap, Fleet, FleetSpec};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{
    PATIENCE, Socket, at_its_mercy, eventually, has_closed, has_told, host, lb, outlast_drain,
};

/// A fleet in which edge and node let upgrades through.
fn upgrading() -> FleetSpec {
    fn allow(envoy: &mut Bootstrap, cluster: &str) -> Result<()> {
        envoy.connection_manager(&json!({
            "upgrade_configs": [{ "upgrade_type": "websocket" }, { "upgrade_type": "CONNECT" }],
            "http2_protocol_options": { "allow_connect": true },
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [
                { "match": { "connect_matcher": {} }, "route": { "cluster": cluster } },
                { "match": { "prefix": "/" }, "route": { "cluster": cluster, "timeout": "0s" } },
            ] }] },
        }))
    }
    FleetSpec {
        edge_changes: |edge| allow(edge, "nodes"),
        node_changes: |node| allow(node, "application"),
        ..at_its_mercy()
    }
}

/// The socket becomes what `request` asks for, and stays so however long ago a close was asked.
async fn is_left_alone(request: &str, unasked: &str, status: &str) -> Result<()> {
    let fleet = Fleet::start(upgrading()).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut heads = Vec::new();
    let mut sockets = Vec::new();
    for request in [unasked, request] {
        let mut socket = Socket::open(&fleet).await?;
        socket.send(request.as_bytes()).await?;
        let head = socket.until("\r\n\r\n").await?;
        assert!(head.starts_with(status), "{head}");
        let changing = |line: &&str| !line.starts_with("date:") && !line.contains("-time:");
        heads.push(head.lines().filter(changing).map(ToOwned::to_owned).collect::<Vec<_>>());
        sockets.push(socket);
    }
    assert_eq!(heads[0], heads[1], "not told in any way");
    // The one that nobody asked to close is not counted.
    let mut socket = sockets.pop().context("no socket")?;
    for message in ["HTTP/1.1 200 OK\r\n\r\n", "more"] {
        socket.send(message.as_bytes()).await?;
        assert_eq!(socket.until(message).await?, message, "not a byte more or less");
        outlast_drain(&fleet).await?;
    }
    eventually("it is counted", || async { Ok(lb(edge, "closes_left_upgraded").await? == 1) })
        .await;
    // But for those that were only there to pass the time.
    has_closed(edge, 2).await;
    has_told(edge, "http1", 2).await
}

#[tokio::test]
async fn a_websocket_over_http1_is_left_alone() -> Result<()> {
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    let request = |path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n{upgrade}\r\n");
    is_left_alone(&request("/close/switch"), &request("/switch"), "HTTP/1.1 101").await
}

#[tokio::test]
async fn a_tunnel_over_http1_is_left_alone() -> Result<()> {
    let request = |host| format!("CONNECT {host}:80 HTTP/1.1\r\nhost: {host}:80\r\n\r\n");
    is_left_alone(&request("close"), &request("other"), "HTTP/1.1 200").await
}

#[tokio::test]
async fn a_websocket_over_http2_is_a_stream_that_is_not_cut() -> Result<()> {
    let fleet = Fleet::start(upgrading()).await?;
    let edge = &fleet.edges()[0].envoy;
    let stream = TcpStream::connect(fleet.edges()[0].address).await?;
    let (mut sender, connection) = client::handshake(stream).await?;
    let over = tokio::spawn(connection);
    let first = Request::get(format!("http://{}/1", host())).body(())?;
    sender.send_request(first, true)?.0.await?;
    anyhow::ensure!(sender.is_extended_connect_protocol_enabled());
    let upgrade = Request::connect(format!("http://{}/close/switch", host()))
        .extension(h2::ext::Protocol::from_static("websocket"))
        .body(())?;
    let (response, mut out) = sender.send_request(upgrade, false)?;
    let response = timeout(PATIENCE, response).await??;
    assert_eq!(response.status(), 200);
    let mut back = response.into_body();
    has_told(edge, "http2", 1).await?;
    for message in ["first", "second"] {
        out.send_data(Bytes::from(message), false)?;
        let echo = timeout(PATIENCE, back.data()).await?.context("the stream is over")??;
        assert_eq!(echo, message);
        outlast_drain(&fleet).await?;
    }
    drop((sender, out, back));
    timeout(PATIENCE, over).await.context("the client stays")???;
    has_closed(edge, 2).await;
    Ok(())
}
