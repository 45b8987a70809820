//! `http.client` and httpx.

use std::process::Command;

use anyhow::Result;
use integration::fleet::Fleet;
use integration::tools::Python;
use integration::traffic::{self, Said};

use crate::support::{REQUESTS, Transport, echoing, loses_nothing};

/// A client of ours on a library of others, pointed at the fleet.
pub async fn client(fleet: &Fleet, script: &str, parallel: u32) -> Result<Command> {
    // It may have to be installed, which holds up its thread, and there are others with a fleet on this one.
    let python = tokio::task::spawn_blocking(Python::locate).await??;
    let mut command = python.client(script);
    command.args(["--url", &fleet.url(), "--requests", &REQUESTS.to_string()]);
    command.args(["--parallel", &parallel.to_string()]);
    if fleet.serves_tls() {
        command.arg("--ca").arg(fleet.authority());
    }
    Ok(command)
}

async fn run(fleet: &Fleet, script: &str, parallel: u32) -> Result<Said> {
    traffic::run(client(fleet, script, parallel).await?).await
}

#[tokio::test]
async fn http_client_loses_nothing() -> Result<()> {
    loses_nothing(echoing(Transport::Plain), async |fleet| run(fleet, "http_client.py", 1).await)
        .await
}

#[tokio::test]
async fn httpx_loses_nothing_over_http1() -> Result<()> {
    loses_nothing(echoing(Transport::Tls), async |fleet| run(fleet, "httpx_client.py", 4).await)
        .await
}
