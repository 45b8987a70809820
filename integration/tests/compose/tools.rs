//! Docker and its compose tools: which of them are here.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::Once;

use anyhow::{Context, Result, bail, ensure};
use integration::artifacts::workspace;
use integration::envoy::locate;

const REQUIRED: &str = "SPILLWAY_REQUIRE_DOCKER";

/// The ways to call compose, the README's first.
const COMPOSE: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];

/// What is here of them, at least one.
pub struct Tools {
    /// How compose is called.
    pub compose: Vec<&'static [&'static str]>,
}

/// Finds them; `None` where there are none and none have to be, which is said then.
pub fn found() -> Result<Option<Tools>> {
    match look() {
        Ok(tools) => Ok(Some(tools)),
        Err(missing) if std::env::var_os(REQUIRED).is_some_and(|value| !value.is_empty()) => {
            Err(missing.context(format!("{REQUIRED} is set, and there is no Docker")))
        }
        Err(missing) => {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                let missing = format!("{missing:#}").replace('\n', " ");
                let line = format!("spillway: the compose tests are left out: {missing}\n");
                // Not `eprintln!`, which is kept back where a test passes.
                let _ = std::io::stderr().write_all(line.as_bytes());
            });
            Ok(None)
        }
    }
}

fn look() -> Result<Tools> {
    run(["docker", "version", "--format", "{{.Server.Version}}"])?;
    let answers = |call: &&[&str]| run(call.iter().copied().chain(["version"])).is_ok();
    let compose: Vec<_> = COMPOSE.into_iter().filter(answers).collect();
    ensure!(
        !compose.is_empty(),
        "there is neither `docker compose` nor `docker-compose` (Debian's package is docker-compose)"
    );
    Ok(Tools { compose })
}

/// The image that `docker-compose.yml` is to use: the user's, or one of the Envoy that the tests use.
pub fn image() -> Result<String> {
    if let Some(image) = std::env::var("ENVOY_IMAGE").ok().filter(|image| !image.is_empty()) {
        return Ok(image);
    }
    let mut script = Command::new("scripts/envoy-image");
    script.current_dir(workspace()).env("ENVOY", locate()?.path);
    Ok(ended(&mut script)?.trim().to_owned())
}

/// Runs a command, and gives back its standard output.
pub fn run<A: AsRef<OsStr>>(call: impl IntoIterator<Item = A>) -> Result<String> {
    let mut call = call.into_iter();
    let mut command = Command::new(call.next().context("no command")?);
    ended(command.args(call))
}

/// Runs it to its end, and gives back its standard output.
pub fn ended(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } =
        output.with_context(|| format!("cannot run `{program}`"))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        bail!("{command:?} failed ({status}): {}", said.trim());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}
