//! The traffic of a cell.
//!
//! HTTP/1.1 and HTTP/2 are the harness's own clients; gRPC is grpcio, HTTP/3 aioquic. All of
//! them send bodies that have to come back.

use std::time::Duration;

use anyhow::Result;

use super::Outcome;
use super::cell::Cell;
use crate::client::{ClientPool, LongLivedClient, Pace, Protocol};
use crate::echo;
use crate::envoy::locate_version;
use crate::fleet::{Fleet, FleetSpec, NAME, StartApplication};
use crate::tools::Python;
use crate::traffic::{Counted, among_closes, counting, run, warm_up};

const CLIENTS: usize = 6;
const STREAMS: u32 = 4;
/// A cell goes on until it has had so many requests and its clients were told so often.
const REQUESTS: u64 = 400;
const CLOSES: u64 = 20;
const BOUND: Duration = Duration::from_mins(1);

/// Plays cells that share a fleet, and tells what came of each.
pub(super) async fn play(cells: &[Cell], mut tell: impl FnMut(Cell, Outcome)) -> Result<()> {
    let Some(first) = cells.first() else { return Ok(()) };
    let fleet = Fleet::start(spec(first)?).await?;
    warm_up(&fleet).await?;
    for cell in cells {
        let outcome = match cell.protocol {
            "http1" => own_clients(&fleet, Protocol::Http1).await?,
            "http2" => own_clients(&fleet, Protocol::Http2 { concurrent_streams: STREAMS }).await?,
            "grpc" => python(&fleet, "grpc_client.py").await?,
            _ => python(&fleet, "http3.py").await?,
        };
        tell(*cell, outcome);
    }
    Ok(())
}

fn spec(cell: &Cell) -> Result<FleetSpec> {
    Ok(FleetSpec {
        native_drain: cell.native_drain(),
        tls: cell.tls(),
        http3: cell.http3(),
        upstream_http2: true,
        application_http2: true,
        envoy: Some(locate_version(cell.envoy)?),
        application: StartApplication(|address| Box::pin(echo::start(address))),
        ..FleetSpec::default().closing_often()
    })
}

async fn own_clients(fleet: &Fleet, protocol: Protocol) -> Result<Outcome> {
    let tls = fleet.serves_tls().then(|| fleet.tls()).transpose()?;
    let client = |_| LongLivedClient {
        echoes: true,
        tls: tls.clone(),
        ..LongLivedClient::new(protocol, Pace::Unpaced, NAME.trim_end_matches('.'))
    };
    let traffic = async {
        let clients = ClientPool::start(CLIENTS, client, &fleet.resolver()?, fleet.port())?;
        let enough = clients.wait_until(BOUND, |totals| {
            totals.requests >= REQUESTS && totals.closes_seen >= CLOSES || totals.failed > 0
        });
        // Where there is not enough in time, the counts say so.
        let _ = enough.await;
        Ok(clients.stop().await)
    };
    let (totals, counted) = counting(fleet, traffic).await?;
    let lost = totals.failed + totals.connections_lost;
    Ok(outcome(totals.requests, lost, totals.failures, counted))
}

async fn python(fleet: &Fleet, script: &str) -> Result<Outcome> {
    let client = async || {
        let mut command = Python::locate()?.client(script);
        command.args(["--url", &fleet.url(), "--requests", &REQUESTS.to_string()]);
        command.args(["--parallel", "8"]);
        if fleet.serves_tls() {
            command.arg("--ca").arg(fleet.authority());
        }
        run(command).await
    };
    let (said, counted) = among_closes(fleet, client).await?;
    Ok(outcome(said.requests, said.failed, said.failures, counted))
}

/// A request that the edge saw more than once is lost too: somebody had to send it again.
fn outcome(requests: u64, failed: u64, failures: Vec<String>, counted: Counted) -> Outcome {
    Outcome {
        requests,
        closes: counted.closes,
        connections: counted.connections,
        lost: failed + counted.requests.abs_diff(requests),
        failures,
    }
}
