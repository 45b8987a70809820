//! The filters, built as they ship.
//!
//! What is tested is what is released: the `wasm` profile for `wasm32-wasip1`, with the
//! versions of `Cargo.lock`. Cargo itself decides whether there is anything to build.
//!
//! The modules are the same wherever they are built: the folders of this machine, which panic
//! messages would name, get names that are the same everywhere.

use std::collections::BTreeSet;
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
    install_target()?;
    build_module(&arguments, "empty_filter.wasm", workspace(), None, None)
}

fn build() -> Result<Filters> {
    install_target()?;
    build_in(workspace(), None, None)
}

/// Builds the filters of the project in the folder `project`, into the folder `target` and with the
/// packages in `cargo_home`, where these are not as usual.
///
/// # Errors
/// The build fails; its output says why.
pub fn build_in(
    project: &Path,
    target: Option<&Path>,
    cargo_home: Option<&Path>,
) -> Result<Filters> {
    let module = build_module(&BUILD, "lb_filter.wasm", project, target, cargo_home)?;
    let directory = module.parent().context("lb_filter.wasm is nowhere")?.to_owned();
    Ok(Filters { directory })
}

/// Has cargo do this, and gives back where it has put the module `file`.
fn build_module(
    arguments: &[&str],
    file: &str,
    project: &Path,
    target: Option<&Path>,
    cargo_home: Option<&Path>,
) -> Result<PathBuf> {
    let at_home = |mut command: Command| {
        if let Some(cargo_home) = cargo_home {
            command.env("CARGO_HOME", cargo_home);
        }
        command.current_dir(project);
        command
    };
    let mut command = at_home(cargo());
    if let Some(target) = target {
        command.env("CARGO_TARGET_DIR", target);
    }
    command
        .args(arguments)
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .env("CARGO_ENCODED_RUSTFLAGS", remap(project, at_home(cargo()))?.join("\x1f"))
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

/// The compiler's flags that give the folders of this machine names that say nothing of it: the
/// project's, those where `cargo` has the packages, and the toolchain's.
fn remap(project: &Path, mut cargo: Command) -> Result<Vec<String>> {
    // This has them there if they were not yet.
    cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]);
    let output = cargo.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let folders: BTreeSet<&Path> = packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .filter_map(|package| Path::new(package["manifest_path"].as_str()?).ancestors().nth(2))
        .collect();
    let library = sysroot()?.join("lib/rustlib/src/rust");
    let names = [(project, "/spillway"), (library.as_path(), "/rust")];
    let names = folders.into_iter().map(|folder| (folder, "/crates")).chain(names);
    let flag =
        |(folder, name): (&Path, &str)| format!("--remap-path-prefix={}={name}", folder.display());
    Ok(names.map(flag).collect())
}

/// Where the toolchain is.
fn sysroot() -> Result<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(workspace())
        .output()
        .context("cannot run rustc")?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Installs the target's standard library if the toolchain has none.
fn install_target() -> Result<()> {
    if sysroot()?.join("lib/rustlib").join(TARGET).exists() {
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
#[must_use]
pub fn cargo() -> Command {
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
