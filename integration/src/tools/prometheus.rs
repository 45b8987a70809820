//! Prometheus and its `promtool`: those of the system, or Debian's package, unpacked below
//! `target/prometheus/`. It is not installed: that would start a server on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::system::{apt_get, find};
use super::{Installation, target_directory};

const PACKAGE: &str = "prometheus";

/// Both programs.
#[derive(Clone, Debug)]
pub struct Prometheus {
    /// The server.
    pub server: PathBuf,
    /// Checks configurations and rules, and asks servers.
    pub promtool: PathBuf,
}

// === impl Prometheus ===

impl Prometheus {
    /// Finds both, and has Debian's package unpacked where they are missing.
    ///
    /// # Errors
    ///
    /// They are missing, and this is no Debian, or the package cannot be had. The text says what to
    /// install.
    pub fn locate() -> Result<Self> {
        if let (Some(server), Some(promtool)) = (find("prometheus"), find("promtool")) {
            return Ok(Self { server, promtool });
        }
        let missing = "`prometheus` and `promtool` are missing: install them (Debian's package is \
                       prometheus)";
        if find("apt-get").is_none() || find("dpkg-deb").is_none() {
            bail!(missing);
        }
        let root = target_directory().join(PACKAGE);
        let installation = Installation { root: &root, name: "debian", holds: "usr/bin/promtool" };
        let binaries = installation.once(unpack).context(missing)?.join("usr/bin");
        Ok(Self { server: binaries.join("prometheus"), promtool: binaries.join("promtool") })
    }
}

fn unpack(into: &Path) -> Result<()> {
    eprintln!(
        "spillway: `prometheus` is missing; unpacking Debian's package (20 MB) into {}",
        into.parent().unwrap_or(into).display()
    );
    fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
    if apt_get(&["download", "-qq", PACKAGE], into).is_err() {
        apt_get(&["update", "-qq"], into)?;
        apt_get(&["download", "-qq", PACKAGE], into)?;
    }
    let files = fs::read_dir(into)?.map(|entry| entry.map(|entry| entry.path()));
    let files = files.collect::<std::io::Result<Vec<_>>>()?;
    let package = files.first().context("apt-get has downloaded nothing")?;
    let unpacked = Command::new("dpkg-deb").arg("--extract").arg(package).arg(into).output();
    let unpacked = unpacked.context("cannot run `dpkg-deb`")?;
    if !unpacked.status.success() {
        bail!("`dpkg-deb` failed: {}", String::from_utf8_lossy(&unpacked.stderr).trim());
    }
    fs::remove_file(package).with_context(|| format!("cannot remove {}", package.display()))
}
