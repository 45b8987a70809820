//! What is compiled is what `deny.toml` allows, comes from where it allows, and is pinned.
//!
//! `cargo deny check` goes by the same file, and looks at advisories too (SECURITY.md). Building it
//! takes longer than all of these tests, so they read the rules themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};
use integration::artifacts::{cargo, workspace};
use spdx::{Expression, Licensee, ParseMode};
use toml::{Table, Value};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
const MODULES: [&str; 2] = ["node-filter", "lb-filter"];

fn table(file: &str) -> Result<Table> {
    let text = fs::read_to_string(workspace().join(file)).with_context(|| file.to_owned())?;
    text.parse().with_context(|| file.to_owned())
}

/// The texts of a list in `deny.toml`.
fn rule(section: &str, list: &str) -> Result<Vec<String>> {
    let rules = table("deny.toml")?;
    let items = rules[section][list].as_array().with_context(|| format!("no {list}"))?;
    let text = |item: &Value| Some(item.get("crate").unwrap_or(item).as_str()?.to_owned());
    items.iter().map(|item| text(item).with_context(|| format!("{list}: {item:?}"))).collect()
}

/// What cargo compiles with these options: each package, with its licence.
fn compiled(options: &[&str]) -> Result<BTreeMap<String, String>> {
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--prefix", "none", "--no-dedupe", "--format", "{p}|{l}"]);
    let output = tree.args(options).current_dir(workspace()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo tree failed: {said}");
    let lines = String::from_utf8(output.stdout)?;
    let lines = lines.lines().filter_map(|line| line.split_once('|'));
    Ok(lines.map(|(package, licence)| (package.to_owned(), licence.to_owned())).collect())
}

/// All of it: filters, harness and tests.
fn everything() -> Result<BTreeMap<String, String>> {
    let all = ["--workspace", "--all-features", "--target", "all"];
    compiled(&[&all[..], &["--edges", "normal,build,dev"]].concat())
}

#[test]
fn every_licence_is_an_allowed_one_and_every_allowed_one_is_needed() -> Result<()> {
    let allowed = rule("licenses", "allow")?;
    let licensees: Vec<_> = allowed
        .iter()
        .map(|licence| Licensee::parse(licence).with_context(|| licence.clone()))
        .collect::<Result<_>>()?;
    let mut needed = BTreeSet::new();
    for (package, licence) in everything()? {
        let expression = Expression::parse_mode(&licence, ParseMode::LAX)
            .with_context(|| format!("{package}: {licence:?}"))?;
        let fine = expression.evaluate(|wanted| {
            let by = licensees.iter().position(|licensee| licensee.satisfies(wanted));
            needed.extend(by.and_then(|by| allowed.get(by)));
            by.is_some()
        });
        assert!(fine, "deny.toml does not allow {licence} of {package}");
    }
    let spare: Vec<_> = allowed.iter().filter(|licence| !needed.contains(licence)).collect();
    assert!(spare.is_empty(), "deny.toml allows what nothing has: {spare:?}");
    Ok(())
}

#[test]
fn nothing_is_banned() -> Result<()> {
    let banned = rule("bans", "deny")?;
    ensure!(!banned.is_empty());
    for package in everything()?.keys() {
        let name = package.split(' ').next().unwrap_or_default();
        assert!(!banned.iter().any(|banned| banned == name), "{package} is banned by deny.toml");
    }
    Ok(())
}

#[test]
fn the_modules_have_one_version_of_each_package() -> Result<()> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let options = ["--target", "wasm32-wasip1", "--edges", "normal,no-proc-macro"];
    let packages = MODULES.iter().flat_map(|module| ["--package", module]);
    let options: Vec<_> = options.into_iter().chain(packages).collect();
    for package in compiled(&options)?.into_keys() {
        let mut words = package.split(' ').map(ToOwned::to_owned);
        let (name, version) = words.next().zip(words.next()).context("no version")?;
        versions.entry(name).or_default().insert(version);
    }
    assert!(versions.len() > MODULES.len(), "{versions:?}");
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "several versions of one package: {versions:?}");
    Ok(())
}

#[test]
fn all_is_from_the_registry_with_its_checksum_or_from_here() -> Result<()> {
    let registries = rule("sources", "allow-registry")?;
    assert_eq!(registries, [CRATES_IO.trim_start_matches("registry+")]);
    let lock = table("Cargo.lock")?;
    let own: BTreeSet<_> = everything()?
        .into_keys()
        // Those of this project are told with their folder.
        .filter(|package| package.contains("(/"))
        .filter_map(|package| Some(package.split(' ').next()?.to_owned()))
        .collect();
    let mut from_the_registry = 0;
    for package in lock["package"].as_array().context("no packages")? {
        let text = |field: &str| package.get(field).and_then(Value::as_str);
        let name = text("name").context("no name")?;
        if let Some(source) = text("source") {
            assert_eq!(source, CRATES_IO, "{name}");
            assert_eq!(text("checksum").map(str::len), Some(64), "{name}");
            from_the_registry += 1;
        } else {
            assert!(own.contains(name), "{name} is from nowhere");
        }
    }
    assert!(from_the_registry > 0);
    Ok(())
}

#[test]
fn the_toolchain_is_one_version() -> Result<()> {
    let toolchain = table("rust-toolchain.toml")?;
    let channel = toolchain["toolchain"]["channel"].as_str().context("no channel")?;
    let numbers: Vec<_> = channel.split('.').map(str::parse::<u32>).collect::<Result<_, _>>()?;
    assert_eq!(numbers.len(), 3, "{channel} is not one version");
    let minimum = &table("Cargo.toml")?["workspace"]["package"]["rust-version"];
    assert!(channel.starts_with(minimum.as_str().context("no rust-version")?), "{minimum:?}");
    Ok(())
}
