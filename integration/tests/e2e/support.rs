//! What the tests share: waiting for a condition, and curl.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use integration::client::{ClientPool, LongLivedClient, Pace, Protocol};
use integration::envoy::Envoy;
use integration::fleet::{Fleet, NAME};
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

/// How long a condition may take to come true; machines are slow at times.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds, and fails where it does not within [`PATIENCE`].
pub async fn eventually<F: Future<Output = Result<bool>>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let start = Instant::now();
    loop {
        let holds = condition().await;
        if matches!(holds, Ok(true)) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "in {PATIENCE:?} never: {what} ({holds:?})");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Tests that load both cores run one at a time.
pub async fn all_cores() -> MutexGuard<'static, ()> {
    static CORES: Mutex<()> = Mutex::const_new(());
    CORES.lock().await
}

/// A counter of the edge's filter.
pub async fn lb(envoy: &Envoy, name: &str) -> Result<u64> {
    Ok(envoy.stats().await?.counter(&format!("wasmcustom.spillway.lb.{name}")))
}

/// A counter of the node's filter.
pub async fn node(envoy: &Envoy, name: &str) -> Result<u64> {
    Ok(envoy.stats().await?.counter(&format!("wasmcustom.spillway.node.{name}")))
}

/// Sends a little traffic until all nodes ask for closes.
pub async fn warm_up(fleet: &Fleet) -> Result<()> {
    let pace = Pace::PerSecond(20.0);
    let spec = |_| LongLivedClient {
        tls: None,
        ..LongLivedClient::new(Protocol::Http1, pace, NAME.trim_end_matches('.'))
    };
    let _clients = ClientPool::start(2, spec, &fleet.resolver()?, fleet.port())?;
    eventually("the nodes ask for closes", || async {
        for node in fleet.nodes() {
            if self::node(&node.envoy, "closes_requested").await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await;
    Ok(())
}

/// What curl is to speak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Http {
    One,
    Two,
}

/// A run of curl.
#[derive(Debug)]
pub struct Curl {
    /// All response bodies, one after the other.
    pub bodies: String,
    /// What `--verbose` says: `*` curl, `>` sent headers, `<` received headers.
    pub verbose: String,
}

/// Asks the first edge for `paths`, one after the other, on one connection as far as that lasts.
pub async fn curl(fleet: &Fleet, tls: bool, http: Http, args: &[&str], paths: &[&str]) -> Result<Curl> {
    let edge = &fleet.edges()[0];
    let name = NAME.trim_end_matches('.');
    let scheme = if tls { "https" } else { "http" };
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--verbose", "--fail", "--max-time", "20"]);
    command.arg(match (http, tls) {
        (Http::One, _) => "--http1.1",
        (Http::Two, true) => "--http2",
        (Http::Two, false) => "--http2-prior-knowledge",
    });
    if tls {
        command.arg("--cacert").arg(fleet.authority());
    }
    command.arg("--resolve").arg(format!("{name}:{}:{}", fleet.port(), edge.address.ip()));
    command.args(args);
    for path in paths {
        command.arg(format!("{scheme}://{name}:{}{path}", fleet.port()));
    }
    let output = command.output().await.context("cannot run curl")?;
    let curl = Curl {
        bodies: String::from_utf8_lossy(&output.stdout).into_owned(),
        verbose: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    anyhow::ensure!(output.status.success(), "curl failed: {}\n{}", output.status, curl.verbose);
    Ok(curl)
}

impl Curl {
    /// Connections it opened.
    pub fn connections(&self) -> usize {
        self.verbose.lines().filter(|line| line.starts_with("* Connected to ")).count()
    }

    /// GOAWAY frames with `NO_ERROR` that it got.
    pub fn goaways(&self) -> usize {
        self.verbose.lines().filter(|line| line.contains("GOAWAY, error=0,")).count()
    }

    /// Values of the response header `name`.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        let prefix = format!("< {name}: ");
        self.verbose.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::trim).collect()
    }
}
