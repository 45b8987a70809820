//! A client that is told to close and stays is served as long as it asks for something, and
//! closed when it does not.

use anyhow::{Context, Result};
use integration::fleet::{Fleet, FleetSpec};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::{PATIENCE, eventually, lb, puppet};

/// Sends a request by hand, as a client does that takes no notice of `connection: close`, and
/// returns the head of the response.
async fn get(stream: &mut TcpStream, path: &str) -> Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    loop {
        anyhow::ensure!(stream.read_buf(&mut response).await? > 0, "closed before the response");
        let text = String::from_utf8_lossy(&response).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.context("no length")?.parse::<usize>()? {
                return Ok(head.to_owned());
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_stays_is_served_and_closed_when_it_falls_silent() -> Result<()> {
    let spec = FleetSpec {
        node_filter: false,
        application: puppet(),
        connection: json!({ "drain_timeout": "1s" }),
        ..FleetSpec::default()
    };
    let fleet = Fleet::start(spec).await?;
    let edge = &fleet.edges()[0].envoy;
    let mut stream = TcpStream::connect(fleet.edges()[0].address).await?;
    assert!(get(&mut stream, "/own").await?.contains("connection: close"));
    let told = Instant::now();
    // It is not cut while it goes on asking, however long ago it was told.
    while told.elapsed().as_secs() < 3 {
        get(&mut stream, "/stamp").await?;
    }
    assert_eq!(lb(edge, "connections_closed").await?, 0);
    let read = timeout(PATIENCE, stream.read(&mut [0; 16])).await.context("never closed")?;
    assert_eq!(read?, 0, "closed in order, not reset");
    eventually("the edge has counted", || async { Ok(lb(edge, "connections_closed").await? == 1) })
        .await;
    assert_eq!(lb(edge, "connections_open").await?, 0);
    Ok(())
}
