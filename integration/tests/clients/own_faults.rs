//! Clients that lose requests when a server closes gracefully, whoever that server is: it is shown
//! without Spillway, on Envoy's own `max_connection_duration`. Once one of these fails, the
//! client has learnt it, and can be among those that lose nothing.

use anyhow::{Result, bail};
use integration::fleet::{Fleet, FleetSpec};
use integration::traffic::{self, Said};

use crate::support::{Transport, closing_by_itself, echoing, echoing_grpc};
use crate::{java, python};

/// A client may be lucky.
const RUNS: u32 = 20;

/// Runs a client against Envoy's own drain until it has lost a request.
async fn loses_to_envoy_itself(
    spec: FleetSpec,
    client: impl AsyncFn(&Fleet) -> Result<Said>,
) -> Result<()> {
    let fleet = Fleet::start(closing_by_itself(spec)).await?;
    let mut met = 0;
    for _ in 0..RUNS {
        let (said, counted) = traffic::counting(&fleet, client(&fleet)).await?;
        met += counted.closes;
        if said.failed > 0 && counted.closes > 0 {
            return Ok(());
        }
    }
    bail!("it has lost nothing among {met} closes")
}

#[tokio::test]
async fn httpx_over_http2() -> Result<()> {
    loses_to_envoy_itself(echoing(Transport::Tls), async |fleet| {
        let mut command = python::client(fleet, "httpx_client.py", 4).await?;
        command.arg("--http2");
        traffic::run(command).await
    })
    .await
}

#[tokio::test]
async fn java_over_http2() -> Result<()> {
    loses_to_envoy_itself(echoing(Transport::Tls), async |fleet| java::run(fleet, "HTTP_2").await)
        .await
}

#[tokio::test]
async fn grpcio_where_it_may_not_move_calls_that_it_has_not_sent() -> Result<()> {
    loses_to_envoy_itself(echoing_grpc(Transport::Tls), async |fleet| {
        let mut command = python::client(fleet, "grpc_client.py", 8).await?;
        command.arg("--no-retries");
        traffic::run(command).await
    })
    .await
}
