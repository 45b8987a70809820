//! curl and wrk.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::echo::pattern;
use integration::fleet::{Fleet, FleetSpec};
use integration::tools::program;
use integration::traffic::{self, Said};

use crate::support::{Transport, closing, echoing, loses_nothing};

/// Bodies of these lengths are asked for, each once.
const FIRST: usize = 19_900;
const LAST: usize = 20_099;

/// Runs curl once for all bodies, each of which goes into a file of its own.
async fn curl(fleet: &Fleet, options: &[&str]) -> Result<Said> {
    let directory = tempfile::tempdir()?;
    let mut curl = Command::new(program("curl", "curl")?);
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "60"]).args(options);
    curl.arg("--cacert").arg(fleet.authority());
    curl.arg("--output").arg(directory.path().join("#1"));
    curl.arg(format!("{}/bytes/[{FIRST}-{LAST}]", fleet.url()));
    traffic::output(curl).await?;
    let mut said = Said::default();
    for length in FIRST..=LAST {
        said.requests += 1;
        let body = std::fs::read(directory.path().join(length.to_string()));
        if !body.is_ok_and(|body| body == pattern(length)) {
            said.failed += 1;
        }
    }
    Ok(said)
}

#[tokio::test]
async fn curl_loses_nothing_over_http1() -> Result<()> {
    loses_nothing(echoing(Transport::Tls), async |fleet| curl(fleet, &["--http1.1"]).await).await
}

#[tokio::test]
async fn curl_loses_nothing_over_http2() -> Result<()> {
    loses_nothing(echoing(Transport::Tls), async |fleet| curl(fleet, &["--http2"]).await).await
}

#[tokio::test]
async fn curl_loses_nothing_over_http2_with_many_requests_at_once() -> Result<()> {
    let options = ["--http2", "--parallel", "--parallel-max", "10"];
    loses_nothing(echoing(Transport::Tls), async |fleet| curl(fleet, &options).await).await
}

/// wrk stops in mid-request when its time is over, so the edge may see a few more than it counts.
#[tokio::test]
async fn wrk_loses_nothing() -> Result<()> {
    const CONNECTIONS: u64 = 8;
    for native_drain in [false, true] {
        let spec = FleetSpec { native_drain, ..echoing(Transport::Plain) };
        let fleet = closing(spec).await?;
        let mut wrk = Command::new(program("wrk", "wrk")?);
        wrk.args(["--threads", "1", "--connections", &CONNECTIONS.to_string()]);
        wrk.args(["--duration", "3s"]).arg(format!("{}/bytes/20000", fleet.url()));
        let (text, counted) = traffic::counting(&fleet, traffic::output(wrk)).await?;
        let words: Vec<_> = text.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "requests").context("no count")?;
        let requests: u64 = words[at - 1].parse()?;
        ensure!(!text.contains("Socket errors"), "{text}");
        ensure!(!text.contains("Non-2xx"), "{text}");
        ensure!(counted.closes > 10, "{counted:?}");
        ensure!(counted.connections > CONNECTIONS, "{counted:?}");
        let unfinished = counted.requests.checked_sub(requests).context("fewer than it says")?;
        ensure!(unfinished <= CONNECTIONS, "{text}\n{counted:?}");
    }
    Ok(())
}
