//! A fleet at the puppet's mercy, clients by hand, and what is to be true after a close.

use anyhow::{Context, Result};
use integration::envoy::Envoy;
use integration::fleet::{Fleet, FleetSpec, NAME};
use integration::tools::program;
use serde_json::json;
use tokio::process::Command;

pub use integration::by_hand::Socket;
pub use integration::testing::{Http, PATIENCE, curl, eventually, lb};

use crate::puppet::puppet;

pub fn at_its_mercy() -> FleetSpec {
    FleetSpec {
        node_filter: false,
        application: puppet(),
        connection: json!({ "drain_timeout": "500ms" }),
        ..FleetSpec::default()
    }
}

/// The edge has told so many clients, and nothing went wrong with the host.
pub async fn has_told(edge: &Envoy, way: &str, count: u64) -> Result<()> {
    let name = format!("closes_announced.{way}");
    eventually(&format!("{count} are told by {way}"), || async {
        Ok(lb(edge, &name).await? == count)
    })
    .await;
    assert_eq!(lb(edge, "host_errors").await?, 0);
    Ok(())
}

/// The edge has closed so many connections itself.
pub async fn has_closed(edge: &Envoy, count: u64) {
    eventually("the edge closes the connection", || async {
        let closed = lb(edge, "connections_closed").await?;
        anyhow::ensure!(closed == count, "{closed}");
        Ok(true)
    })
    .await;
}

/// Lasts longer than `drain_timeout`: until a client over HTTP/1 that was told is closed.
pub async fn outlast_drain(fleet: &Fleet) -> Result<()> {
    let mut other = Socket::open(fleet).await?;
    other.get("/close/now").await?;
    other.rest().await?;
    Ok(())
}

/// nghttp, which asks for all `paths` at once on one connection.
pub async fn nghttp(fleet: &Fleet, args: &[&str], paths: &[&str]) -> Result<String> {
    let base = format!("http://{}", fleet.edges()[0].address);
    let mut command = Command::new(program("nghttp", "nghttp2-client")?);
    command.args(["--verbose", "--timeout", "20", "--no-dep"]).args(args);
    command.args(paths.iter().map(|path| format!("{base}{path}")));
    let output = command.output().await.context("cannot run nghttp")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{}\n{text}", output.status);
    Ok(text)
}

/// The host that requests by hand name.
pub fn host() -> &'static str {
    NAME.trim_end_matches('.')
}
