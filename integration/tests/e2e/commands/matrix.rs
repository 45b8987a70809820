//! `cargo matrix` as a user runs it, on the newest Envoy.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::envoy::PINNED_VERSION;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::some_of_a_core;

/// The filters may have to be built first, and clients be installed.
const RUN_BOUND: Duration = Duration::from_mins(8);

#[tokio::test]
async fn every_protocol_transport_and_way_loses_nothing_on_the_newest_envoy() -> Result<()> {
    let _core = some_of_a_core().await;
    let directory = tempfile::tempdir()?;
    let json = directory.path().join("matrix.json");
    let mut matrix = matrix();
    matrix.args(["--only", PINNED_VERSION]).arg("--json").arg(&json);
    let output = timeout(RUN_BOUND, matrix.output()).await.context("it does not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{errors}\n{said}", output.status);
    let result: Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
    let cells = result["cells"].as_array().context("no cells")?;
    assert_eq!(cells.len(), 13, "{said}");
    for cell in cells {
        assert_eq!((&cell["envoy"], &cell["lost"]), (&PINNED_VERSION.into(), &0.into()), "{cell}");
        let closes = cell["closes"].as_u64().context("no closes")?;
        let requests = cell["requests"].as_u64().context("no requests")?;
        assert!(closes > 0 && requests >= 400, "{cell}");
    }
    Ok(())
}

#[tokio::test]
async fn a_word_that_names_nothing_is_refused() -> Result<()> {
    for (only, reason) in [("http4", "--only http4"), ("http3,plain", "no such combination")] {
        let output = matrix().args(["--only", only]).output().await?;
        let errors = String::from_utf8(output.stderr)?;
        assert!(!output.status.success() && errors.contains(reason), "{errors}");
    }
    Ok(())
}

fn matrix() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
    command.arg("matrix").stdin(Stdio::null()).kill_on_drop(true);
    command
}
