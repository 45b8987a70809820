//! What the harness runs besides Envoy: programs of the system, and Python packages that it installs.

mod cyclone_dx;
mod install;
mod prometheus;
mod python;
mod system;

use std::process::Command;

use anyhow::{Context, Result, bail};

pub use self::cyclone_dx::CycloneDx;
pub(crate) use self::install::{Installation, pip_install, target_directory};
pub use self::prometheus::Prometheus;
pub use self::python::Python;
pub use self::system::program;

/// What a program says of its version, to be shown; the first line only.
///
/// # Errors
///
/// It does not run.
pub fn version(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({})", output.status);
    }
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
}
