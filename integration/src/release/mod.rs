//! `cargo artifacts`: all that a release consists of, in one folder.
//!
//! The modules are those that the tests run ([`crate::artifacts`]); everything else is made of them
//! and of what is in the repository. Nothing in it depends on when, where or by whom it was made, so
//! whoever builds a version again can compare checksums.

mod image;
mod sbom;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ring::digest::{SHA256, digest};

use crate::artifacts::{filters, workspace};
use crate::tools::target_directory;

/// The two modules, by the names of their files without `.wasm`, and what each is.
const MODULES: [(&str, &str); 2] = [
    ("lb_filter", "Spillway's filter for edge Envoys"),
    ("node_filter", "Spillway's filter for the Envoys of nodes"),
];

/// The list of checksums, as `sha256sum --check` reads it.
const CHECKSUMS: &str = "SHA256SUMS";

/// What the user can choose.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The folder to put them in [default: target/artifacts]
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// Builds all of it.
///
/// # Errors
///
/// The modules do not build, or a file cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let folder = options.output.clone().unwrap_or_else(|| target_directory().join("artifacts"));
    let files = write(&folder)?;
    println!("{}", folder.display());
    for (name, bytes, sum) in files {
        println!("  {sum}  {bytes:>9} bytes  {name}");
    }
    Ok(())
}

/// Names, sizes and checksums of what was written.
fn write(folder: &Path) -> Result<Vec<(String, usize, String)>> {
    let built = filters()?.directory;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut modules = Vec::new();
    for (name, title) in MODULES {
        let module = read(&built.join(format!("{name}.wasm")))?;
        let schema = read(&workspace().join(format!("schemas/{name}.schema.json")))?;
        files.push((format!("{name}.oci.tar"), image::archive(name, title, &module)?));
        files.push((format!("{name}.schema.json"), schema));
        modules.push(sbom::Module { package: name.replace('_', "-"), sha256: sha256(&module) });
        files.push((format!("{name}.wasm"), module));
    }
    files.push(("spillway.cdx.json".into(), sbom::cyclone_dx(&modules)?.into_bytes()));
    files.sort();

    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut sums = String::new();
    let mut written = Vec::new();
    for (name, bytes) in files {
        let sum = sha256(&bytes);
        writeln!(sums, "{sum}  {name}")?;
        put(&folder.join(&name), &bytes)?;
        written.push((name, bytes.len(), sum));
    }
    put(&folder.join(CHECKSUMS), sums.as_bytes())?;
    Ok(written)
}

/// A SHA-256 checksum in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
