//! Installs something below `target/`, once, whoever asks for it at the same time.
//!
//! Test processes run at once. They queue up at a file lock; what is installed is
//! unpacked aside and renamed into place, so whoever sees it without having asked
//! for the lock sees it whole. `cargo clean` takes it away, nothing else is touched.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::artifacts::workspace;

/// What is to be installed, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Installation<'a> {
    /// The folder that it gets a folder in.
    pub root: &'a Path,
    /// The name of that.
    pub name: &'a str,
    /// What is in it once it is installed.
    pub holds: &'a str,
}

// === impl Installation ===

impl Installation<'_> {
    /// Its folder; `fetch` fills one where there is none yet.
    ///
    /// # Errors
    ///
    /// Those of `fetch`, and of the file system.
    pub fn once(self, fetch: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let Self { root, name, holds } = self;
        let place = root.join(name);
        if place.join(holds).exists() {
            return Ok(place);
        }
        fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
        let lock_path = root.join(".lock");
        let lock = File::create(&lock_path)
            .with_context(|| format!("cannot create {}", lock_path.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
        if place.join(holds).exists() {
            return Ok(place);
        }
        let aside = root.join(format!("{name}.partial"));
        for leftover in [&aside, &place] {
            if leftover.exists() {
                fs::remove_dir_all(leftover)
                    .with_context(|| format!("cannot remove {}", leftover.display()))?;
            }
        }
        fetch(&aside)?;
        fs::rename(&aside, &place)
            .with_context(|| format!("cannot move what was installed to {}", place.display()))?;
        Ok(place)
    }
}

/// Installs what a requirements file pins by hash into a folder, and nothing else.
///
/// # Errors
///
/// Python or its `pip` is missing, or a package could not be had. The text holds what pip said.
pub(crate) fn pip_install(requirements: &Path, into: &Path) -> Result<()> {
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--only-binary", ":all:"])
        .arg("--require-hashes")
        .arg("-r")
        .arg(requirements)
        .arg("--target")
        .arg(into)
        .output()
        .context("cannot run `python3`: install Python 3 with pip (python3-pip)")?;
    if !output.status.success() {
        bail!(
            "`python3 -m pip install -r {}` failed ({}). pip said:\n{}",
            requirements.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn of(root: &Path) -> Installation<'_> {
        Installation { root, name: "1.0", holds: "bin/it" }
    }

    fn unpack(into: &Path) -> Result<()> {
        fs::create_dir_all(into.join("bin"))?;
        fs::write(into.join("bin/it"), "binary")?;
        Ok(())
    }

    #[test]
    fn many_at_once_install_only_once() {
        let root = tempfile::tempdir().unwrap();
        let fetched = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let place = of(root.path()).once(|into| {
                        fetched.fetch_add(1, Ordering::Relaxed);
                        unpack(into)
                    });
                    assert!(place.unwrap().join("bin/it").is_file());
                });
            }
        });
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_interrupted_installation_is_done_again() {
        let root = tempfile::tempdir().unwrap();
        let failed = of(root.path()).once(|into| {
            fs::create_dir_all(into.join("half"))?;
            bail!("the network is gone")
        });
        assert!(failed.unwrap_err().to_string().contains("network"));
        let place = of(root.path()).once(unpack).unwrap();
        assert!(place.join("bin/it").is_file() && !place.join("half").exists());
    }
}
