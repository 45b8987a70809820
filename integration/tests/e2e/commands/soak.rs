//! `cargo soak` as a user runs it, in a short form: both ways to close, with and without TLS.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::some_of_a_core;

/// The filters may have to be built first.
const RUN_BOUND: Duration = Duration::from_mins(5);

#[tokio::test]
async fn nothing_is_lost_cut_or_mixed_up_among_closes() -> Result<()> {
    let _core = some_of_a_core().await;
    for way in ["--tls", "--native-drain"] {
        let directory = tempfile::tempdir()?;
        let json = directory.path().join("soak.json");
        let mut soak = soak();
        soak.args(["--requests", "5000", "--closes", "60", "--close-rate", "50"]);
        soak.arg(way).arg("--json").arg(&json);
        let output = timeout(RUN_BOUND, soak.output()).await.context("it does not end")??;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{way}: {}\n{errors}\n{said}", output.status);
        assert!(said.contains("failed 0   connections lost 0"), "{said}");
        let result: Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
        let number = |name: &str| result[name].as_u64().with_context(|| format!("no {name}"));
        assert!(number("requests")? >= 5_000 && number("closes")? >= 60, "{result}");
        assert_eq!(number("requests")?, number("requests_at_edges")?, "{result}");
        assert!(number("connections_opened")? > number("closes")?, "{result}");
        assert_eq!((number("failed_requests")?, number("lost_connections")?), (0, 0));
    }
    Ok(())
}

#[tokio::test]
async fn too_little_in_time_is_no_success() -> Result<()> {
    let output = soak().args(["--requests", "1000000", "--within", "1s"]).output().await?;
    let errors = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && errors.contains("not enough in 1s"), "{errors}");
    Ok(())
}

fn soak() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
    command.arg("soak").stdin(Stdio::null()).kill_on_drop(true);
    command
}
