//! The filters, built as they ship.
//!
//! What is tested is what is released: the `wasm` profile for `wasm32-wasip1`, with the
//! versions of `Cargo.lock`. Cargo itself decides whether there is anything to build.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The target the filters are built for.
pub const TARGET: &str = "wasm32-wasip1";

/// What cargo is asked to do; the same as the README tells users.
pub const BUILD: [&str; 10] = [
    "build",
    "--locked",
    "--profile",
    "wasm",
    "--target",
    TARGET,
    "--package",
    "node-filter",
    "--package",
    "lb-filter",
];

/// The two modules.
#[derive(Clone, Debug)]
pub struct Filters {
    /// Folder that holds both.
    pub directory: PathBuf,
}

/// The top folder of the project.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Builds the filters where they are not up to date.
///
/// # Errors
/// The target cannot be installed, or the build fails; its output says why.
pub fn filters() -> Result<Filters> {
    static FILTERS: OnceLock<Result<Filters, String>> = OnceLock::new();
    let built = FILTERS.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

/// Builds the empty filter that `cargo overhead` compares with, in the same way, and says where it is.
///
/// # Errors
/// As [`filters`].
pub fn empty_filter() -> Result<PathBuf> {
    let mut arguments = BUILD[..6].to_vec();
    arguments.extend(["--package", "empty-filter"]);
    build_module(&arguments, "empty_filter.wasm")
}

fn build() -> Result<Filters> {
    let module = build_module(&BUILD, "lb_filter.wasm")?;
    let directory = module.parent().context("lb_filter.wasm is nowhere")?.to_owned();
    Ok(Filters { directory })
}

fn build_module(arguments: &[&str], file: &str) -> Result<PathBuf> {
    install_target()?;
    let mut command = cargo();
    command
        .args(arguments)
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .current_dir(workspace())
        .stderr(Stdio::piped());
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the filters do not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    // Cargo says itself where it has put them, whatever its target folder is.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter_map(|message| message["filenames"][0].as_str().map(PathBuf::from))
        .find(|module| module.ends_with(file))
        .with_context(|| format!("cargo has built no {file}"))
}

/// Installs the target's standard library if the toolchain has none.
fn install_target() -> Result<()> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(workspace())
        .output()
        .context("cannot run rustc")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if sysroot.join("lib/rustlib").join(TARGET).exists() {
        return Ok(());
    }
    eprintln!("Installing Rust's standard library for {TARGET}: rustup target add {TARGET}");
    let installed = Command::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(workspace())
        .status()
        .with_context(|| {
            format!("the toolchain has no {TARGET}, and there is no rustup to add it")
        })?;
    if !installed.success() {
        bail!("`rustup target add {TARGET}` failed");
    }
    Ok(())
}

/// Cargo, without what an outer cargo has set for the crate it runs.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        let of_a_package = name_text.starts_with("CARGO_PKG_")
            || name_text.starts_with("CARGO_MANIFEST")
            || name_text == "RUSTFLAGS"
            || name_text == "CARGO_ENCODED_RUSTFLAGS";
        if of_a_package {
            command.env_remove(name);
        }
    }
    command
}
