//! What the harness runs besides Envoy: programs of the system, and Python packages that it installs.
//!
//! A program that is missing fails what needs it, with a line that says what to install.

mod install;
mod python;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

pub(crate) use self::install::{Installation, pip_install, target_directory};
pub use self::python::Python;

/// Where Debian has programs that not every user has on the PATH.
const SYSTEM_PROGRAMS: &str = "/usr/sbin";

/// The path of a program that has to be there; `package` is Debian's name of what brings it.
///
/// # Errors
///
/// It is missing.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&search_path)
        .chain([PathBuf::from(SYSTEM_PROGRAMS)])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file());
    found
        .with_context(|| format!("`{name}` is missing: install it (Debian's package is {package})"))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        assert!(program("sh", "dash").is_ok());
        let error = program("no-such-program", "some-package").unwrap_err().to_string();
        assert!(error.contains("`no-such-program`") && error.contains("some-package"), "{error}");
    }
}
