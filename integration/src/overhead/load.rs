//! The load: wrk for HTTP/1.1, h2load for HTTP/2, on twenty connections for a set time.
//!
//! To a node wrk sends stamps as an edge with so many requests does, which go up, and h2load, which can send but
//! one header, the same one with each request. All others get a header that is as long: clients of an edge send
//! no stamps.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redistribution::wire::STAMP_HEADER;
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use super::workloads::Workload;
use crate::tools::program;

const CONNECTIONS: u32 = 20;
const STAMP: &str = "id=\"edge-2\", vm=v0123456789abcdef, seq=1, conn=1, age=60, open=50";
/// As long as the name of the stamp's header.
const NO_STAMP_HEADER: &str = "spillway-no";
/// What the client may need beyond the time that it is given.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub(super) struct Seen {
    pub requests: u64,
    pub duration_us: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// Requests and connections that failed.
    pub errors: u64,
}

/// Where requests go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub address: SocketAddr,
    /// The host that they ask for.
    pub host: &'a str,
    /// Whether there is somebody who reads stamps.
    pub reads_stamps: bool,
}

/// Sends requests for `time`, in whole seconds.
pub(super) async fn send(
    workload: Workload,
    to: Target<'_>,
    time: Duration,
    folder: &Path,
) -> Result<Seen> {
    if workload.http2() {
        h2load(workload, to, time, folder).await
    } else {
        wrk(workload, to, time, folder).await
    }
}

async fn wrk(workload: Workload, to: Target<'_>, time: Duration, folder: &Path) -> Result<Seen> {
    let script = folder.join("wrk.lua");
    std::fs::write(&script, include_str!("wrk.lua"))?;
    let mut command = Command::new(program("wrk", "wrk")?);
    command
        .args(["--threads", "1", "--connections", &CONNECTIONS.to_string()])
        .args(["--duration", &format!("{}s", time.as_secs())])
        .arg("--script")
        .arg(script)
        .arg(format!("http://{}", to.address))
        .args(["--", workload.path(), to.host, &workload.edges().to_string(), to.header()])
        .arg(workload.stamps_one_in().to_string());
    let said = run(command, time).await?;
    let line = said.lines().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("wrk has no result:\n{said}"))?;
    serde_json::from_str(line).with_context(|| format!("not what wrk.lua says: {line}"))
}

async fn h2load(workload: Workload, to: Target<'_>, time: Duration, folder: &Path) -> Result<Seen> {
    let log = folder.join("h2load.log");
    // It appends.
    let _ = std::fs::remove_file(&log);
    let mut command = Command::new(program("h2load", "nghttp2-client")?);
    command
        .args(["--clients", &CONNECTIONS.to_string(), "--max-concurrent-streams", "1"])
        .args(["--duration", &time.as_secs().to_string()])
        .args(["--header", &format!("{}: {STAMP}", to.header())])
        .args(["--header", &format!(":authority: {}", to.host)])
        .arg("--log-file")
        .arg(&log)
        .arg(format!("http://{}{}", to.address, workload.path()));
    let said = run(command, time).await?;
    let text = std::fs::read_to_string(&log)
        .with_context(|| format!("h2load has left no log:\n{said}"))?;
    seen(&text, time).with_context(|| format!("h2load has done nothing:\n{said}"))
}

/// A line is a request: when it began, its status, and how many microseconds it took.
fn seen(log: &str, time: Duration) -> Result<Seen> {
    let (mut errors, mut latencies) = (0, Vec::new());
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        let (status, latency) = (fields.next(), fields.next().and_then(|text| text.parse().ok()));
        match (status, latency) {
            (Some("200"), Some(latency)) => latencies.push(latency),
            _ => errors += 1,
        }
    }
    ensure!(!latencies.is_empty(), "no response");
    latencies.sort_unstable_by(f64::total_cmp);
    let quantile = |quantile: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Within the list.
        let index = (quantile * (latencies.len() - 1) as f64).round() as usize;
        latencies[index]
    };
    Ok(Seen {
        requests: latencies.len() as u64,
        duration_us: u64::try_from(time.as_micros()).unwrap_or(u64::MAX),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        errors,
    })
}

async fn run(mut command: Command, time: Duration) -> Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(time + PATIENCE, command.output())
        .await
        .with_context(|| format!("it does not end: {command:?}"))??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({})\n{said}{errors}", output.status);
    Ok(said)
}

// === impl Target ===

impl Target<'_> {
    fn header(&self) -> &'static str {
        if self.reads_stamps { STAMP_HEADER } else { NO_STAMP_HEADER }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_h2load_has_every_latency() {
        let mut lines: Vec<_> = (1..=1000).map(|n| format!("17\t200\t{n}")).collect();
        lines.push("18\t-1\t5".to_owned());
        let seen = seen(&lines.join("\n"), Duration::from_secs(2)).expect("a result");
        assert_eq!((seen.requests, seen.errors, seen.duration_us), (1000, 1, 2_000_000));
        assert!(
            (seen.p50_us - 501.0).abs() < 2.0 && (seen.p999_us - 999.0).abs() < 2.0,
            "{seen:?}"
        );
    }
}
