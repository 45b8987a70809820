//! What the modules are made of, as a `CycloneDX` bill of materials (version 1.6, in JSON).
//!
//! Cargo itself says what is compiled into each: the packages that it resolves for the target, with
//! the features that are on there. Packages that run in the compiler only have the scope `excluded`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::sha256;
use crate::artifacts::{TARGET, cargo, workspace};

/// A module of the release.
pub(super) struct Module {
    /// The package that it is built of.
    pub package: String,
    /// The checksum of its file.
    pub sha256: String,
}

/// A package, by name and version.
type Id = (String, String);

/// What each package needs, and which of them get into a module.
#[derive(Default)]
struct Tree {
    needs: BTreeMap<Id, BTreeSet<Id>>,
    compiled_in: BTreeSet<Id>,
}

/// The bill of these modules.
pub(super) fn cyclone_dx(modules: &[Module]) -> Result<String> {
    let tree = Tree::of(modules)?;
    let licenses = licenses()?;
    let checksums = checksums()?;
    let mut components = Vec::new();
    for id in tree.needs.keys() {
        let (name, version) = id;
        let module = modules.iter().find(|module| module.package == *name);
        let license = licenses.get(id).with_context(|| format!("{name} has no licence"))?;
        let scope = if tree.compiled_in.contains(id) { "required" } else { "excluded" };
        let mut component = json!({
            "type": if module.is_some() { "application" } else { "library" },
            "bom-ref": reference(id),
            "name": name,
            "version": version,
            "scope": scope,
            "licenses": [{ "expression": license.replace('/', " OR ") }],
        });
        if let Some(sum) = module.map(|module| &module.sha256).or_else(|| checksums.get(id)) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        // Those of this project are in no registry.
        if checksums.contains_key(id) {
            component["purl"] = reference(id).into();
        }
        components.push(component);
    }
    let dependencies: Vec<_> = tree
        .needs
        .iter()
        .map(|(id, needs)| {
            json!({ "ref": reference(id), "dependsOn": needs.iter().map(reference).collect::<Vec<_>>() })
        })
        .collect();
    let bill = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial_number(modules),
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "spillway",
                "name": "spillway",
                "version": env!("CARGO_PKG_VERSION"),
                "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

fn reference((name, version): &Id) -> String {
    format!("pkg:cargo/{name}@{version}")
}

/// A UUID (RFC 9562, version 8) that the checksums of the modules make: the same for the same ones.
fn serial_number(modules: &[Module]) -> String {
    let sums: String = modules.iter().map(|module| module.sha256.as_str()).collect();
    let hex = sha256(sums.as_bytes());
    format!(
        "urn:uuid:{}-{}-8{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}

/// What cargo writes to its standard output.
fn output(arguments: &[&str]) -> Result<String> {
    let output = cargo().args(arguments).current_dir(workspace()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {} failed: {said}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The licence of each package, as its author has it.
fn licenses() -> Result<BTreeMap<Id, String>> {
    let metadata: Value =
        serde_json::from_str(&output(&["metadata", "--locked", "--format-version", "1"])?)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let text = |package: &Value, field: &str| package[field].as_str().map(ToOwned::to_owned);
    Ok(packages
        .iter()
        .filter_map(|package| {
            let id = (text(package, "name")?, text(package, "version")?);
            Some((id, text(package, "license")?))
        })
        .collect())
}

/// The checksum of each package that is from the registry: that of its `.crate` file.
fn checksums() -> Result<BTreeMap<Id, String>> {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).context("no Cargo.lock")?;
    let field = |package: &str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
        Some(line?.trim_end_matches('"').to_owned())
    };
    Ok(lock
        .split("[[package]]")
        .filter_map(|package| {
            let id = (field(package, "name")?, field(package, "version")?);
            Some((id, field(package, "checksum")?))
        })
        .collect())
}

// === impl Tree ===

impl Tree {
    fn of(modules: &[Module]) -> Result<Self> {
        let mut arguments = vec!["tree", "--locked", "--edges", "normal", "--target", TARGET];
        arguments.extend(["--prefix", "depth", "--no-dedupe", "--format", " {p}"]);
        for module in modules {
            arguments.extend(["--package", &module.package]);
        }
        Self::parse(&output(&arguments)?)
    }

    /// Reads lines such as `2 serde_core v1.0.229`, below those of what needs it.
    fn parse(text: &str) -> Result<Self> {
        let mut tree = Self::default();
        // From the module down to the line before, each with whether it is compiled in.
        let mut above: Vec<(Id, bool)> = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let mut words = line.split_whitespace();
            let mut word = || words.next().with_context(|| format!("cargo tree says {line:?}"));
            let depth: usize = word()?.parse()?;
            let id = (word()?.to_owned(), word()?.trim_start_matches('v').to_owned());
            above.truncate(depth);
            let compiled_in = above.last().is_none_or(|(_, compiled_in)| *compiled_in)
                && !line.contains("(proc-macro)");
            tree.needs.entry(id.clone()).or_default();
            if compiled_in {
                tree.compiled_in.insert(id.clone());
            }
            if let Some((needs, _)) = above.last() {
                tree.needs.entry(needs.clone()).or_default().insert(id.clone());
            }
            above.push((id, compiled_in));
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_compiler_runs_is_not_compiled_in() {
        let text =
            "0 a v1.0.0 (/a)\n1 b v2.0.0\n1 m v3.0.0 (proc-macro)\n2 q v4.0.0\n\n0 q v4.0.0\n";
        let tree = Tree::parse(text).unwrap();
        let id = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(
            tree.needs[&id("a", "1.0.0")],
            BTreeSet::from([id("b", "2.0.0"), id("m", "3.0.0")])
        );
        // One that is both counts as compiled in.
        assert!(tree.compiled_in.contains(&id("q", "4.0.0")));
        assert!(!tree.compiled_in.contains(&id("m", "3.0.0")));
        assert!(Tree::parse("a v1.0.0").is_err());
    }
}
