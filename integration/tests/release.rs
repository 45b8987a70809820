//! What `cargo artifacts` makes is whole, is what was tested, and is the same wherever it is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::artifacts::{build_in, filters, workspace};
use integration::tools::{CycloneDx, program};
use serde_json::Value;
use tempfile::TempDir;

const MODULES: [&str; 2] = ["lb_filter.wasm", "node_filter.wasm"];

fn artifacts() -> Result<TempDir> {
    let folder = TempDir::with_prefix("spillway-artifacts-")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
    run(command.arg("artifacts").arg("--output").arg(folder.path()))?;
    Ok(folder)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn it_is_whole_and_the_modules_are_those_that_the_tests_run() -> Result<()> {
    let folder = artifacts()?;
    let mut there: Vec<_> = fs::read_dir(folder.path())?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    there.sort();
    let expected = [
        "SHA256SUMS",
        "lb_filter.oci.tar",
        "lb_filter.schema.json",
        "lb_filter.wasm",
        "node_filter.oci.tar",
        "node_filter.schema.json",
        "node_filter.wasm",
        "spillway.cdx.json",
    ];
    assert_eq!(there, expected);
    let tested = filters()?.directory;
    for module in MODULES {
        assert_eq!(fs::read(folder.path().join(module))?, fs::read(tested.join(module))?);
    }
    let checked =
        run(Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(folder.path()))?;
    assert_eq!(checked.lines().filter(|line| line.ends_with(": OK")).count(), expected.len() - 1);
    // Made again, it is the same.
    let again = artifacts()?;
    for file in expected {
        assert_eq!(
            fs::read(again.path().join(file))?,
            fs::read(folder.path().join(file))?,
            "{file}"
        );
    }
    Ok(())
}

#[test]
fn the_images_hold_the_module_where_it_is_looked_for() -> Result<()> {
    let folder = artifacts()?;
    let skopeo = program("skopeo", "skopeo")?;
    for module in MODULES {
        let name = module.trim_end_matches(".wasm");
        let archive =
            format!("oci-archive:{}", folder.path().join(format!("{name}.oci.tar")).display());
        let said: Value =
            serde_json::from_str(&run(Command::new(&skopeo).args(["inspect", &archive]))?)?;
        assert_eq!(said["Layers"].as_array().map(Vec::len), Some(1), "{said}");
        // It reads all of the image, and checks it by its digests.
        let copy = folder.path().join(name);
        let insecure = "--insecure-policy";
        let to = format!("dir:{}", copy.display());
        run(Command::new(&skopeo).args([insecure, "copy", "--quiet", &archive, &to]))?;
        let digest = said["Layers"][0].as_str().context("no layer")?.trim_start_matches("sha256:");
        let layer = copy.join(digest);
        let listed = run(Command::new("tar").arg("-tzf").arg(&layer))?;
        assert_eq!(listed, "plugin.wasm\n");
        run(Command::new("tar").arg("-xzf").arg(&layer).current_dir(&copy))?;
        assert_eq!(fs::read(copy.join("plugin.wasm"))?, fs::read(folder.path().join(module))?);
    }
    Ok(())
}

#[test]
fn the_bill_of_materials_is_one_by_the_published_schema() -> Result<()> {
    let folder = artifacts()?;
    let bill = fs::read_to_string(folder.path().join("spillway.cdx.json"))?;
    let bill: Value = serde_json::from_str(&bill)?;
    let published = CycloneDx::locate()?;
    let read = |name: &str| -> Result<Value> {
        Ok(serde_json::from_str(&fs::read_to_string(published.schema(name))?)?)
    };
    let schema = read("bom-1.6")?;
    // What it refers to, by the names that it has for them.
    let mut registry = jsonschema::Registry::new();
    for name in ["spdx", "jsf-0.82"] {
        let uri = format!("http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json");
        registry = registry.add(uri, jsonschema::Resource::from_contents(read(name)?))?;
    }
    let registry = registry.prepare()?;
    let validator = jsonschema::options().with_registry(&registry).build(&schema)?;
    let errors: Vec<_> = validator.iter_errors(&bill).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");

    // What it names is what is compiled in, as far as the modules themselves tell.
    let components = bill["components"].as_array().context("no components")?;
    let is_there = |name: &str, scope: &str| {
        components.iter().any(|component| component["name"] == name && component["scope"] == scope)
    };
    for name in
        ["lb-filter", "node-filter", "redistribution", "proxy-host", "serde_json", "litemap"]
    {
        assert!(is_there(name, "required"), "{name}");
    }
    // Nothing runs in the compiler any more to make them.
    assert!(components.iter().all(|component| component["scope"] == "required"), "{components:?}");
    for test_only in ["tokio", "proptest", "jsonschema", "integration", "proxy-wasm", "sfv", "syn"]
    {
        assert!(!is_there(test_only, "required") && !is_there(test_only, "excluded"));
    }
    Ok(())
}

/// Copies what git has, as it is in the working tree, and gives back the copy's folder.
fn copy_of_the_project(into: &Path) -> Result<PathBuf> {
    let project = into.join("elsewhere/project");
    let listed = run(Command::new("git").args(["ls-files", "-z"]).current_dir(workspace()))?;
    for file in listed.split('\0').filter(|file| !file.is_empty()) {
        let copy = project.join(file);
        fs::create_dir_all(copy.parent().context("no folder")?)?;
        fs::copy(workspace().join(file), &copy).with_context(|| format!("cannot copy {file}"))?;
    }
    Ok(project)
}

/// A home for cargo with another path, and the same packages.
fn other_cargo_home(into: &Path) -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let home = home.context("no home of cargo")?;
    let other = into.join("other-cargo-home");
    fs::create_dir_all(&other)?;
    for name in ["registry", "config.toml", "config"] {
        if home.join(name).exists() {
            std::os::unix::fs::symlink(home.join(name), other.join(name))?;
        }
    }
    Ok(other)
}

#[test]
fn another_folder_gives_the_same_modules_which_name_no_folder() -> Result<()> {
    let place = TempDir::with_prefix("spillway-again-")?;
    let project = copy_of_the_project(place.path())?;
    let home = other_cargo_home(place.path())?;
    let target = place.path().join("other-target");
    let again = build_in(&project, Some(&target), Some(&home))?.directory;
    let first = filters()?.directory;
    for module in MODULES {
        let bytes = fs::read(first.join(module))?;
        assert!(bytes == fs::read(again.join(module))?, "{module} differs");
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("/crates/serde_json-"), "{module} does not tell where it panics");
        let here = workspace().to_string_lossy();
        for folder in [&*here, "/home/", "/root/", "registry", ".cargo", ".rustup"] {
            assert!(!text.contains(folder), "{module} names {folder}");
        }
    }
    Ok(())
}
