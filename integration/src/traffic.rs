//! Clients that nobody here wrote, run against an edge that closes: what they say, and what the
//! edge says.
//!
//! Both are asked because each alone could hide something. A client that sends a request again
//! after it was lost reports no failure, but the edge has then seen more requests than the
//! client was given. An edge cannot tell whether a response arrived; the client checks it by its
//! content.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tokio::time::timeout;

use crate::client::{ClientPool, LongLivedClient, Pace, Protocol};
use crate::envoy::{Envoy, Stats};
use crate::fleet::{Fleet, NAME};

/// A client that takes longer hangs.
const CLIENT_BOUND: Duration = Duration::from_mins(2);
/// How long nodes may take to know their shares, and so to ask for closes.
const WARM_UP_BOUND: Duration = Duration::from_secs(30);

/// A client that has met so many closes has met enough of them.
const ENOUGH_CLOSES: u64 = 5;
/// After so many runs it has had its chances.
const RUNS: u32 = 6;

/// What a client says at its end, as one line of JSON (`clients/python/report.py`).
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Said {
    /// Requests it sent, each of them once as far as it knows.
    pub requests: u64,
    /// Requests without a whole and right response.
    pub failed: u64,
    /// Closes that it noticed, where its library tells.
    #[serde(default)]
    pub closes: u64,
    /// The first failures in words.
    #[serde(default)]
    pub failures: Vec<String>,
}

/// What an edge counted meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Requests that came in.
    pub requests: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections whose client was told to close, by whatever means.
    pub closes: u64,
    /// Requests that ended without a whole response, or without a whole request.
    pub cut: u64,
}

/// Two clients that keep the nodes asking for closes, since that takes requests: so many as tell them
/// their shares, and responses to ask on.
///
/// # Errors
///
/// They cannot be started.
pub fn steady_clients(fleet: &Fleet) -> Result<ClientPool> {
    let mut spec =
        LongLivedClient::new(Protocol::Http1, Pace::PerSecond(20.0), NAME.trim_end_matches('.'));
    spec.tls = fleet.serves_tls().then(|| fleet.tls()).transpose()?;
    ClientPool::start(2, |_| spec.clone(), &fleet.resolver()?, fleet.port())
}

/// Makes the nodes ask for closes.
///
/// # Errors
///
/// They do not.
pub async fn warm_up(fleet: &Fleet) -> Result<()> {
    let clients = steady_clients(fleet)?;
    let closed = clients.wait_until(WARM_UP_BOUND, |totals| totals.closes_seen > 0).await;
    closed.with_context(|| format!("no close; Envoys have logged:\n{}", fleet.log_text()))?;
    clients.stop().await;
    Ok(())
}

/// What the first edge of a fleet counts while `work` goes on.
///
/// # Errors
///
/// Those of `work`; the edge does not answer.
pub async fn counting<T>(
    fleet: &Fleet,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, Counted)> {
    let edge = &fleet.edges()[0].envoy;
    let before = Counted::of(&settled(edge).await?);
    let done = work.await?;
    Ok((done, Counted::of(&settled(edge).await?).since(before)))
}

/// Runs a client again and again until it has met a few closes, and gives back all that it said and
/// that the first edge counted. How soon a node asks for closes depends on the ages of the
/// connections that it has seen before.
///
/// # Errors
///
/// The client fails, or does not end, or says something else; the edge does not answer.
pub async fn among_closes(
    fleet: &Fleet,
    client: impl AsyncFn() -> Result<Said>,
) -> Result<(Said, Counted)> {
    let (mut said, mut counted) = (Said::default(), Counted::default());
    for _ in 0..RUNS {
        let (run_said, run_counted) = counting(fleet, client()).await?;
        said.add(run_said);
        counted.add(run_counted);
        if counted.closes >= ENOUGH_CLOSES || said.failed > 0 {
            break;
        }
    }
    Ok((said, counted))
}

/// Runs a client that ends with a line of JSON.
///
/// # Errors
///
/// It fails, or does not end, or says something else. The text holds what it said.
pub async fn run(command: Command) -> Result<Said> {
    let text = output(command).await?;
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("no result: {text}"))
}

/// Runs a client, and gives back what it wrote to its standard output.
///
/// # Errors
///
/// It fails, or does not end.
pub async fn output(command: Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(CLIENT_BOUND, command.output())
        .await
        .with_context(|| format!("{name} does not end"))?
        .with_context(|| format!("cannot run {name}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({})\n{errors}\n{text}", output.status);
    }
    Ok(text)
}

/// The stats of an edge once they stand still: the filters count with their ticks, and Envoy counts a
/// request that was cut only when it is cleared away.
async fn settled(edge: &Envoy) -> Result<Stats> {
    // Longer than a tick of the filter.
    const QUIET: Duration = Duration::from_millis(600);
    tokio::time::sleep(QUIET).await;
    edge.stats().await
}

// === impl Counted ===

impl Counted {
    fn of(stats: &Stats) -> Self {
        let manager = |name: &str| stats.counter(&format!("http.public.downstream_{name}"));
        Self {
            requests: manager("rq_total"),
            connections: manager("cx_total"),
            closes: stats.sum_prefix("wasmcustom.spillway.lb.closes_announced.")
                + manager("cx_max_duration_reached"),
            cut: manager("rq_rx_reset"),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            connections: self.connections - before.connections,
            closes: self.closes - before.closes,
            cut: self.cut - before.cut,
        }
    }

    fn add(&mut self, more: Self) {
        self.requests += more.requests;
        self.connections += more.connections;
        self.closes += more.closes;
        self.cut += more.cut;
    }
}

// === impl Said ===

impl Said {
    fn add(&mut self, more: Self) {
        self.requests += more.requests;
        self.failed += more.failed;
        self.closes += more.closes;
        self.failures.extend(more.failures);
    }

    /// That nothing was lost, that nothing was sent twice, and that there were closes at all.
    ///
    /// # Errors
    ///
    /// It is not so; the text says what was.
    pub fn lost_nothing(&self, counted: Counted) -> Result<()> {
        ensure!(self.requests > 0 && counted.closes > 0, "nothing to judge: {self:?}, {counted:?}");
        ensure!(self.failed == 0, "requests failed: {self:?}, {counted:?}");
        ensure!(counted.requests == self.requests, "sent more than once: {self:?}, {counted:?}");
        ensure!(counted.connections > 1, "no connection was reopened: {self:?}, {counted:?}");
        Ok(())
    }
}
