//! `cargo overhead` as a user runs it, in a short form: that it works, not what it finds.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::testing::all_cores;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

/// The filters may have to be built first, and clients be installed.
const RUN_BOUND: Duration = Duration::from_mins(8);

const CONTENDERS: [&str; 8] = [
    "no_filter",
    "empty_sdk_filter",
    "node_filter",
    "lb_http_role",
    "lb_both_roles",
    "lb_native_drain",
    "lua",
    "max_connection_duration",
];

#[tokio::test]
async fn every_contender_is_measured_and_compared() -> Result<()> {
    let _cores = all_cores().await;
    let directory = tempfile::tempdir()?;
    let report = directory.path().join("reports/overhead.html");
    let json = directory.path().join("overhead.json");
    let mut overhead = overhead();
    overhead.args(["--short", "--workloads", "http1_small,http2_large,http1_small_closing"]);
    overhead.arg("--report").arg(&report).arg("--json").arg(&json);
    let output = timeout(RUN_BOUND, overhead.output()).await.context("it does not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{errors}\n{said}", output.status);
    assert!(said.contains("## http1_small_closing") && said.contains("of empty filter"), "{said}");
    assert!(std::fs::read_to_string(&report)?.contains("CPU per request: http2_large"));

    let result: Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
    let contenders = result["contenders"].as_array().context("no contenders")?;
    let names: Vec<_> = contenders.iter().map(|contender| &contender["name"]).collect();
    assert_eq!(names, CONTENDERS);
    for contender in contenders {
        let cpu = &contender["cpu_us_per_request"];
        for number in [&cpu["median"], &cpu["min"], &cpu["max"], &contender["rps"]] {
            assert!(number.as_f64().is_some_and(|number| number > 0.0), "{contender}");
        }
        assert!(contender["rss_kib"].as_u64().is_some_and(|kib| kib > 1_000), "{contender}");
        assert!(contender["start_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{contender}");
        // A client that meets errors measures something else.
        for cost in contender["workloads"].as_array().context("no workloads")? {
            assert_eq!(cost["errors"], 0, "{contender}");
        }
    }
    assert!(result["ratios"].as_array().is_some_and(|ratios| !ratios.is_empty()), "{result}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_is_said_before_anything_starts() -> Result<()> {
    for (arguments, reason) in [
        (["--only", "nobody"], "invalid value 'nobody'"),
        (["--workloads", "http4"], "invalid value 'http4'"),
        (["--rounds", "0"], "--rounds has to be more than nothing"),
    ] {
        let output = overhead().args(arguments).output().await?;
        let errors = String::from_utf8(output.stderr)?;
        assert!(!output.status.success() && errors.contains(reason), "{errors}");
    }
    Ok(())
}

fn overhead() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
    command.arg("overhead").stdin(Stdio::null()).kill_on_drop(true);
    command
}
