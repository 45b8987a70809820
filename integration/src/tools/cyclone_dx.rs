//! The published schemas of `CycloneDX`, from the Python package that brings them, installed below
//! `target/cyclonedx/`. Only the files are read; nothing of it runs.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Installation, pip_install, target_directory};

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cyclonedx-requirements.txt");
const SCHEMAS: &str = "cyclonedx/schema/_res";

/// The schemas.
#[derive(Clone, Debug)]
pub struct CycloneDx {
    folder: PathBuf,
}

// === impl CycloneDx ===

impl CycloneDx {
    /// Finds them, and installs them where they are not there yet.
    ///
    /// # Errors
    ///
    /// Python or its `pip` is missing, or the package could not be had. The text says what to do.
    pub fn locate() -> Result<Self> {
        let root = target_directory().join("cyclonedx");
        let place = Installation { root: &root, name: "schemas", holds: SCHEMAS };
        let folder = place.once(|into| {
            eprintln!(
                "spillway: installing the schemas of CycloneDX (cyclonedx-python-lib, 3 MB) into {}",
                root.display()
            );
            pip_install(Path::new(REQUIREMENTS), into)
        })?;
        Ok(Self { folder: folder.join(SCHEMAS) })
    }

    /// The file of a schema, such as `bom-1.6`.
    #[must_use]
    pub fn schema(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.SNAPSHOT.schema.json"))
    }
}
