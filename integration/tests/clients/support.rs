//! What the tests of clients share: a fleet that closes often, and the judgement.

use anyhow::{Context, Result};
use integration::echo;
use integration::fleet::{Fleet, FleetSpec, StartApplication};
use integration::traffic::{self, Said};
use serde_json::json;

/// Requests of one run of a client.
pub const REQUESTS: u64 = 400;

/// What stands between a client and the edge's filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    Tls,
}

/// A fleet with the echo behind it.
pub fn echoing(transport: Transport) -> FleetSpec {
    FleetSpec {
        tls: transport == Transport::Tls,
        application: StartApplication(|address| Box::pin(echo::start(address))),
        ..FleetSpec::default()
    }
}

/// The same, with gRPC all the way.
pub fn echoing_grpc(transport: Transport) -> FleetSpec {
    FleetSpec { upstream_http2: true, application_http2: true, ..echoing(transport) }
}

/// Without Spillway: Envoy lets go of each connection, gracefully and by itself, after a moment.
pub fn closing_by_itself(spec: FleetSpec) -> FleetSpec {
    FleetSpec {
        edge_filters: false,
        node_filter: false,
        edge_manager: json!({
            "common_http_protocol_options": { "max_connection_duration": "0.05s" },
            "drain_timeout": "1s",
        }),
        ..spec
    }
}

/// Runs a client on fleets that close in either way; it must lose nothing.
pub async fn loses_nothing(
    spec: FleetSpec,
    client: impl AsyncFn(&Fleet) -> Result<Said>,
) -> Result<()> {
    // At once, since much of the time nodes measure and clients wait.
    let ways = [false, true].map(|native_drain| FleetSpec { native_drain, ..spec.clone() });
    let [connection_role, native_drain] = ways.map(|spec| one_way(spec, &client));
    let (connection_role, native_drain) = tokio::join!(connection_role, native_drain);
    connection_role.context("with the connection role")?;
    native_drain.context("with native drain")
}

async fn one_way(spec: FleetSpec, client: &impl AsyncFn(&Fleet) -> Result<Said>) -> Result<()> {
    let fleet = closing(spec).await?;
    let client = async || client(&fleet).await;
    let (said, counted) = traffic::among_closes(&fleet, client).await?;
    said.lost_nothing(counted)
}

/// Starts a fleet whose nodes ask for closes from now on.
pub async fn closing(spec: FleetSpec) -> Result<Fleet> {
    let fleet = Fleet::start(spec.closing_often()).await?;
    traffic::warm_up(&fleet).await?;
    Ok(fleet)
}
