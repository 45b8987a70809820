//! Python with the packages that the test clients need, installed below `target/python/`.
//!
//! The packages are pinned by hash (`python-requirements.txt`). They go into a folder of their own
//! that only the clients started here look into; the system's Python stays as it is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};

use super::{Installation, pip_install, program, target_directory, version};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python-requirements.txt");
const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python");

/// A Python that has the packages.
#[derive(Clone, Debug)]
pub struct Python {
    binary: PathBuf,
    packages: PathBuf,
}

// === impl Python ===

impl Python {
    /// Finds Python, and installs the packages where they are not there yet.
    ///
    /// # Errors
    ///
    /// Python or its `pip` is missing, or a package could not be had. The text says what to do.
    pub fn locate() -> Result<Self> {
        static FOUND: OnceLock<Result<Python, String>> = OnceLock::new();
        let found = FOUND.get_or_init(|| Self::install().map_err(|error| format!("{error:#}")));
        found.clone().map_err(|error| anyhow!(error))
    }

    /// Runs `clients/python/<script>`.
    #[must_use]
    pub fn client(&self, script: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.env("PYTHONPATH", &self.packages).arg("-B").arg(Path::new(CLIENTS).join(script));
        command
    }

    fn install() -> Result<Self> {
        let binary = program("python3", "python3")?;
        // Some of the packages are compiled for one version of Python.
        let name = version(Command::new(&binary).arg("--version"))?.replace(' ', "-");
        let root = target_directory().join("python");
        let place = Installation { root: &root, name: &name, holds: "aioquic" };
        let packages = place.once(|into| {
            eprintln!(
                "spillway: installing the Python clients of python-requirements.txt (aioquic, \
                 grpcio, httpx; 20 MB) into {}",
                root.join(&name).display()
            );
            pip_install(Path::new(REQUIREMENTS), into)
        })?;
        Ok(Self { binary, packages })
    }
}
