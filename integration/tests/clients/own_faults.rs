//! Clients that lose requests when a server closes gracefully, whoever that server is: it is shown
//! without Spillway, on Envoy's own `max_connection_duration`. Once one of these fails, the
//! client has learnt it, and can be among those that lose nothing.

use anyhow::{Result, ensure};
use integration::fleet::{Fleet, FleetSpec};
use integration::traffic::{self, Said};

use crate::support::{Transport, all_cores, closing_by_itself, echoing, echoing_grpc};
use crate::{java, python};

/// Runs a client against Envoy's own drain until it has lost a request.
async fn loses_to_envoy_itself(
    spec: FleetSpec,
    client: impl AsyncFn(&Fleet) -> Result<Said>,
) -> Result<()> {
    let _cores = all_cores().await;
    let fleet = Fleet::start(closing_by_itself(spec)).await?;
    let (said, counted) = traffic::among_closes(&fleet, async || client(&fleet).await).await?;
    eprintln!("{said:?}, {counted:?}");
    ensure!(counted.closes > 0, "nothing to judge: {said:?}, {counted:?}");
    ensure!(said.failed > 0, "it has lost nothing: {said:?}, {counted:?}");
    Ok(())
}

#[tokio::test]
async fn httpx_over_http2() -> Result<()> {
    loses_to_envoy_itself(echoing(Transport::Tls), async |fleet| {
        let mut command = python::client(fleet, "httpx_client.py", 4)?;
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
        let mut command = python::client(fleet, "grpc_client.py", 8)?;
        command.arg("--no-retries");
        traffic::run(command).await
    })
    .await
}
