//! `cargo demo` as a user runs it: what it leaves behind, that it is as simulated, and that nothing
//! of it stays running.
//!
//! One run is looked at; `SPILLWAY_RUNS=5` makes five.

mod agreement;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use agreement::Simulated;

use crate::support::one_core;

/// A run takes about a minute; the filters may have to be built first.
const RUN_BOUND: Duration = Duration::from_mins(5);
/// From a signal to the end.
const END_BOUND: Duration = Duration::from_secs(30);
/// Edges, the joining one not included, and nodes.
const ENVOYS: usize = 6;
/// How far from the mean a load may be, measured without the demo's own means.
const TOLERANCE: f64 = 0.15;

#[tokio::test]
async fn a_run_settles_as_simulated_and_leaves_a_result_and_a_report() -> Result<()> {
    let runs = std::env::var("SPILLWAY_RUNS").map_or(Ok(1), |runs| {
        runs.parse::<u32>().context("SPILLWAY_RUNS is to be a number of runs")
    })?;
    let simulated = Simulated::runs();
    for _ in 0..runs {
        let result = run().await?;
        result_makes_sense(&result);
        simulated.assert_like(&result);
    }
    Ok(())
}

/// Runs it once, and gives back its result.
async fn run() -> Result<Value> {
    let _core = one_core().await;
    let directory = tempfile::tempdir()?;
    // A folder that is not there yet is made.
    let report = directory.path().join("reports/demo.html");
    let json = directory.path().join("demo.json");
    let mut demo = demo();
    let picture = directory.path().join("pictures/demo.svg");
    demo.arg("--report").arg(&report).arg("--json").arg(&json).arg("--picture").arg(&picture);
    let output = timeout(RUN_BOUND, demo.output()).await.context("the demo does not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{errors}\n{said}", output.status);

    assert!(said.contains("-- edge-3 joins"), "{said}");
    assert!(said.contains("settled in "), "{said}");
    assert!(said.contains(&format!("Report:  {}", report.display())), "{said}");
    report_is_complete_in_itself(&std::fs::read_to_string(&report)?);
    assert!(std::fs::read_to_string(&picture)?.contains(">edge-3 joins</text>"));
    Ok(serde_json::from_str(&std::fs::read_to_string(&json)?)?)
}

fn result_makes_sense(result: &Value) {
    assert_eq!(result["failed_requests"], 0, "{result}");
    assert_eq!(result["edges"], serde_json::json!(["edge-1", "edge-2", "edge-3"]));
    let settle_s = result["settle_s"].as_f64().expect("a time");
    assert!((1.0..80.0).contains(&settle_s), "{settle_s}");
    let version = result["envoy_version"].as_str().expect("a version");
    assert_eq!(version.split('.').count(), 3, "{version}");
    let (closes, requests) = (&result["closes"], &result["requests"]);
    assert!(closes.as_u64() > Some(100) && requests.as_u64() > Some(10_000), "{result}");

    let loads = |column: &str| -> Vec<f64> {
        let loads = result["load"][column].as_array().expect("a column");
        let loads: Vec<_> = loads.iter().filter_map(Value::as_f64).collect();
        assert_eq!(loads.len(), 3, "{column}: {result}");
        loads
    };
    let (before, at, after) = (loads("before"), loads("at"), loads("after"));
    assert!(before[2] == 0.0 && before[0] > 0.0 && before[1] > 0.0, "{before:?}");
    assert!(at[2] < 0.2 * at[0], "{at:?}");
    let mean = after.iter().sum::<f64>() / 3.0;
    assert!(after.iter().all(|load| (load / mean - 1.0).abs() < TOLERANCE), "{after:?}");
    let total_before: f64 = before.iter().sum();
    assert!((mean * 3.0 / total_before - 1.0).abs() < TOLERANCE, "{before:?} {after:?}");
}

fn report_is_complete_in_itself(html: &str) {
    assert_eq!(html.matches("<svg").count(), 3, "the charts");
    assert_eq!(html.matches("</svg>").count(), 3, "whole charts");
    assert!(html.contains("edge-3 joins") && html.contains("settled"));
    for scheme in ["http://", "https://"] {
        for (at, _) in html.match_indices(scheme) {
            let address: String = html[at..].chars().take(60).collect();
            assert!(address.starts_with("http://www.w3.org/"), "a reference to {address}");
        }
    }
    for fetched in ["src=", "<link", "@import", "url("] {
        assert!(!html.contains(fetched), "the report fetches something: {fetched}");
    }
}

#[tokio::test]
async fn sigterm_and_ctrl_c_end_it_with_all_that_it_started() -> Result<()> {
    let _core = one_core().await;
    let directory = tempfile::tempdir()?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut demo = demo()
            .arg("--report")
            .arg(directory.path().join("report.html"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        timeout(RUN_BOUND, says(&mut demo, "clients connect")).await.context("no clients")??;
        let pid = Pid::from_raw(i32::try_from(demo.id().context("it has ended")?)?);
        let started = children_of(pid)?;
        assert_eq!(started.len(), ENVOYS, "{started:?}");

        kill(pid, signal)?;
        let output = timeout(END_BOUND, demo.wait_with_output()).await.context("it goes on")??;
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        let errors = String::from_utf8(output.stderr)?;
        assert!(errors.contains("ended before its time"), "{errors}");
        for child in started {
            assert_eq!(kill(child, None), Err(Errno::ESRCH), "{child} is left of {signal}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_said_before_anything_starts() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let output = demo().arg("--json").arg(directory.path()).output().await?;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.starts_with("spillway: ") && errors.ends_with("is a folder; name a file\n"));
    assert_eq!(errors.lines().count(), 1, "{errors}");

    let output = demo().env("ENVOY", "/none/envoy").output().await?;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr)?;
    assert!(errors.contains("there is no file /none/envoy"), "{errors}");
    Ok(())
}

/// The binary, without a terminal.
fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
    command.args(["demo", "--headless"]).stdin(Stdio::null());
    command
}

/// Reads what it prints until `text` is in it.
async fn says(demo: &mut Child, text: &str) -> Result<()> {
    let output = demo.stdout.as_mut().context("its output is not piped")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        if line.contains(text) {
            return Ok(());
        }
    }
    let mut errors = String::new();
    demo.stderr.as_mut().context("nor are its errors")?.read_to_string(&mut errors).await?;
    anyhow::bail!("it ended without saying {text:?}, but:\n{errors}")
}

fn children_of(parent: Pid) -> Result<Vec<Pid>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may be gone before its file is read.
        let stat = Path::new("/proc").join(&name).join("stat");
        let stat = std::fs::read_to_string(stat).unwrap_or_default();
        // The fields after the name in parentheses: state, then the parent.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
        let of = fields.and_then(|fields| fields.split(' ').nth(1)?.parse().ok());
        if of == Some(parent.as_raw()) {
            children.push(Pid::from_raw(pid));
        }
    }
    Ok(children)
}
