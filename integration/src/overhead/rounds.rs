//! The rounds: every contender has its Envoy, all are up, and one at a time has load.
//!
//! In each round every contender has every workload, in an order that differs from round to round, so
//! that what changes on the machine meets all of them.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use redistribution::wire::Stamp;
use serde_json::Value;
use tokio::net::TcpStream;

use super::contenders::{Contender, Place};
use super::load::{self, Seen, Target};
use super::routes::{STAMP_ECHO, STAMP_PATH, backend};
use super::workloads::Workload;
use crate::envoy::{Envoy, EnvoyBinary, EnvoyOptions};
use crate::loopback::LoopbackBlock;

/// What `authority` says where no VM is asked to close.
const NO_VM: &str = "v0000000000000000";
/// Workers for which the memory of each is measured, beyond the one that all have.
const MORE_WORKERS: u32 = 4;

/// Where everything comes from.
#[derive(Clone, Copy)]
pub(super) struct Things<'a> {
    pub binary: &'a EnvoyBinary,
    pub filters: &'a Path,
    pub empty_filter: &'a Path,
    pub folder: &'a Path,
}

/// A contender with its Envoy.
pub(super) struct Running {
    pub contender: Contender,
    pub envoy: Envoy,
    pub address: SocketAddr,
    /// What asks for closes has to name it.
    vm: String,
}

/// All of them.
pub(super) struct Field {
    pub running: Vec<Running>,
    _backend: Envoy,
    _block: LoopbackBlock,
}

/// What one round of one workload came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub cpu_us_per_request: f64,
    pub requests_per_second: f64,
    pub seen: Seen,
}

// === impl Field ===

impl Field {
    /// Starts them.
    pub async fn start(things: Things<'_>, contenders: &[Contender], closes: bool) -> Result<Self> {
        let block = LoopbackBlock::claim()?;
        let (large, large_admin) = (free(&block)?, free(&block)?);
        let bootstrap = backend(large, large_admin);
        let options = EnvoyOptions::new(things.binary, "backend", &bootstrap, things.folder);
        let behind = Envoy::start(options).await?;
        let mut running = Vec::new();
        for contender in contenders {
            running.push(Running::start(things, *contender, &block, large, closes, 1).await?);
        }
        Ok(Self { running, _backend: behind, _block: block })
    }
}

// === impl Running ===

impl Running {
    async fn start(
        things: Things<'_>,
        contender: Contender,
        block: &LoopbackBlock,
        backend: SocketAddr,
        closes: bool,
        workers: u32,
    ) -> Result<Self> {
        let place = Place {
            traffic: free(block)?,
            admin: free(block)?,
            backend,
            filters: things.filters,
            empty_filter: things.empty_filter,
            closes,
        };
        let bootstrap = contender.bootstrap(place)?;
        Self::run(things, contender, place.traffic, &bootstrap, workers).await
    }

    /// Starts one on one worker, without anything behind it, and with changes to its configuration.
    pub async fn start_with(
        things: Things<'_>,
        contender: Contender,
        block: &LoopbackBlock,
        change: impl FnOnce(&mut Value),
    ) -> Result<Self> {
        let place = Place {
            traffic: free(block)?,
            admin: free(block)?,
            backend: free(block)?,
            filters: things.filters,
            empty_filter: things.empty_filter,
            closes: false,
        };
        let mut bootstrap = contender.bootstrap(place)?;
        change(&mut bootstrap);
        Self::run(things, contender, place.traffic, &bootstrap, 1).await
    }

    async fn run(
        things: Things<'_>,
        contender: Contender,
        address: SocketAddr,
        bootstrap: &Value,
        workers: u32,
    ) -> Result<Self> {
        let name = contender.name();
        let options = EnvoyOptions::new(things.binary, &name, bootstrap, things.folder);
        let envoy = Envoy::start(EnvoyOptions { workers, ..options }).await?;
        let vm = vm_of(address).await?.unwrap_or_else(|| NO_VM.to_owned());
        Ok(Self { contender, envoy, address, vm })
    }

    /// A round of a workload.
    pub async fn play(&self, workload: Workload, time: Duration, folder: &Path) -> Result<Sample> {
        let host = if workload.closes() { self.vm.as_str() } else { NO_VM };
        let before = self.requests().await?;
        let cpu_before = self.envoy.cpu_time()?;
        let reads_stamps = self.contender.reads_stamps();
        let to = Target { address: self.address, host, reads_stamps };
        let seen = load::send(workload, to, time, folder).await?;
        let cpu = self.envoy.cpu_time()?.saturating_sub(cpu_before);
        let requests = self.requests().await?.saturating_sub(before);
        Ok(Sample {
            cpu_us_per_request: cpu.as_secs_f64() * 1e6 / requests.max(1) as f64,
            requests_per_second: seen.requests as f64 / (seen.duration_us.max(1) as f64 / 1e6),
            seen,
        })
    }

    /// Requests that its listener has had, as Envoy counts them.
    async fn requests(&self) -> Result<u64> {
        Ok(self.envoy.stats().await?.counter("http.public.downstream_rq_total"))
    }
}

/// Resident memory of an Envoy more for each worker, in KiB: the worker, and its VM where it has one.
pub(super) async fn kib_per_worker(things: Things<'_>, contender: Contender) -> Result<f64> {
    let block = LoopbackBlock::claim()?;
    let nowhere = free(&block)?;
    let mut rss = [0.0; 2];
    for (rss, workers) in rss.iter_mut().zip([1, 1 + MORE_WORKERS]) {
        let running = Running::start(things, contender, &block, nowhere, false, workers).await?;
        *rss = running.envoy.rss_kib()? as f64;
        running.envoy.stop().await?;
    }
    Ok((rss[1] - rss[0]) / f64::from(MORE_WORKERS))
}

fn free(block: &LoopbackBlock) -> Result<SocketAddr> {
    let address = block.address(1);
    Ok((address, block.free_port(address)?).into())
}

/// The VM that the worker at this address names in its stamps, where it puts some.
async fn vm_of(address: SocketAddr) -> Result<Option<String>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async { drop(connection.await) });
    let request =
        Request::get(STAMP_PATH).header("host", NO_VM).body(Empty::<bytes::Bytes>::new())?;
    let response: Response<_> = sender.send_request(request).await?;
    let stamp = response.headers().get(STAMP_ECHO).map(|value| value.as_bytes().to_vec());
    response.into_body().collect().await.context("no body")?;
    let stamp = stamp.unwrap_or_default();
    // One that is in Lua is no VM.
    let position = Stamp::parse(&stamp).ok().and_then(|stamp| stamp.position);
    Ok(position.map(|position| position.vm.to_string()))
}
