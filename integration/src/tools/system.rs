//! Programs of the system. One that is missing is installed where that is ours to do: on Debian and
//! its like, as root, as in a container or a CI job. Elsewhere its user is told what to install.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use super::target_directory;

/// Where Debian has programs that not every user has on the PATH.
const SYSTEM_PROGRAMS: &str = "/usr/sbin";

/// The path of a program that has to be there; `package` is Debian's name of what brings it.
///
/// # Errors
///
/// It is missing, and cannot be installed from here. The text says what to install.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = find(name) {
        return Ok(found);
    }
    let missing = missing(name, package);
    if !geteuid().is_root() || find("apt-get").is_none() {
        bail!(missing);
    }
    apt_get_install(name, package).context(missing.clone())?;
    find(name).context(missing)
}

fn missing(name: &str, package: &str) -> String {
    format!("`{name}` is missing: install it (Debian's package is {package})")
}

pub(super) fn find(name: &str) -> Option<PathBuf> {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search_path)
        .chain([PathBuf::from(SYSTEM_PROGRAMS)])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// Tests run at once, and so do test processes: one installs, the others wait for it.
fn apt_get_install(name: &str, package: &str) -> Result<()> {
    let lock_path = target_directory().join("apt-get.lock");
    fs::create_dir_all(target_directory()).context("cannot create the target directory")?;
    let lock = File::create(&lock_path)
        .with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    if find(name).is_some() {
        return Ok(());
    }
    eprintln!("spillway: `{name}` is missing; installing Debian's package {package} with apt-get");
    let anywhere = Path::new("/");
    apt_get(&["update", "-qq"], anywhere)?;
    apt_get(&["install", "-y", "-qq", "--no-install-recommends", package], anywhere)
}

/// Runs apt-get in a folder, which is where it puts what it downloads.
pub(super) fn apt_get(arguments: &[&str], folder: &Path) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).current_dir(folder).env("DEBIAN_FRONTEND", "noninteractive");
    let output = command.output().context("cannot run `apt-get`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`apt-get {}` failed ({}): {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_missing_is_named_with_its_package() {
        assert!(program("sh", "dash").is_ok());
        assert_eq!(find("no-such-program"), None);
        let text = missing("no-such-program", "some-package");
        assert!(text.contains("`no-such-program`") && text.contains("some-package"), "{text}");
    }
}
