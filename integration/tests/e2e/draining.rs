//! A client that is told to close and stays is served as long as it asks for something, and
//! closed when it does not.

use anyhow::{Context, Result};
use integration::fleet::{Fleet, FleetSpec};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::{PATIENCE, eventually, get_and_stay, lb, puppet};

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
    assert!(get_and_stay(&mut stream, "/own").await?.contains("connection: close"));
    let told = Instant::now();
    // It is not cut while it goes on asking, however long ago it was told.
    while told.elapsed().as_secs() < 3 {
        get_and_stay(&mut stream, "/stamp").await?;
    }
    assert_eq!(lb(edge, "connections_closed").await?, 0);
    let read = timeout(PATIENCE, stream.read(&mut [0; 16])).await.context("never closed")?;
    assert_eq!(read?, 0, "closed in order, not reset");
    eventually("the edge has counted", || async { Ok(lb(edge, "connections_closed").await? == 1) })
        .await;
    assert_eq!(lb(edge, "connections_open").await?, 0);
    Ok(())
}
