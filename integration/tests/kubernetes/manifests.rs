//! The manifests as they are shipped.

use anyhow::{Context, Result};
use integration::artifacts::workspace;
use serde::Deserialize;
use serde_json::Value;

/// A manifest, and the file that it is from.
pub struct Manifest {
    pub file: String,
    pub value: Value,
}

/// All documents of all files of `envoy-configs/<folder>` but its kustomization.
pub fn manifests(folder: &str) -> Result<Vec<Manifest>> {
    let mut found = Vec::new();
    for file in files(folder)? {
        if file == "kustomization.yaml" {
            continue;
        }
        let path = workspace().join("envoy-configs").join(folder).join(&file);
        for document in serde_yaml_ng::Deserializer::from_str(&std::fs::read_to_string(path)?) {
            let value = Value::deserialize(document).with_context(|| file.clone())?;
            found.push(Manifest { file: file.clone(), value });
        }
    }
    Ok(found)
}

/// The names of the YAML files of `envoy-configs/<folder>`.
pub fn files(folder: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(workspace().join("envoy-configs").join(folder))? {
        let name = entry?.file_name().into_string().ok().context("no name")?;
        anyhow::ensure!(name.strip_suffix(".yaml").is_some(), "{name} is no YAML file");
        names.push(name);
    }
    names.sort();
    Ok(names)
}

/// The manifest of that name.
pub fn manifest(folder: &str, name: &str) -> Result<Value> {
    let mut all = manifests(folder)?.into_iter().map(|manifest| manifest.value);
    all.find(|value| value["metadata"]["name"] == name).with_context(|| format!("no {name}"))
}

/// The value of the only patch of the `EnvoyFilter` or `EnvoyPatchPolicy` of that name.
pub fn patch_value(folder: &str, name: &str) -> Result<Value> {
    let manifest = manifest(folder, name)?;
    for pointer in ["/spec/configPatches/0/patch/value", "/spec/jsonPatches/0/operation/value"] {
        if let Some(value) = manifest.pointer(pointer) {
            return Ok(value.clone());
        }
    }
    anyhow::bail!("{name} has no patch")
}

/// Every file is listed in the kustomization, in use or as a choice in a comment, and none twice.
fn lists_every_file(folder: &str) -> Result<()> {
    let path = workspace().join("envoy-configs").join(folder).join("kustomization.yaml");
    let text = std::fs::read_to_string(path)?;
    let kustomization: Value = serde_yaml_ng::from_str(&text)?;
    assert_eq!(kustomization["kind"], "Kustomization");
    let listed = text.lines().filter_map(|line| {
        line.trim_start().trim_start_matches("# ").strip_prefix("- ").map(ToOwned::to_owned)
    });
    let mut listed: Vec<_> = listed.chain(["kustomization.yaml".to_owned()]).collect();
    listed.sort();
    assert_eq!(listed, files(folder)?);
    // And all of them do as resources.
    let mut chosen = text.replace("# - ", "- ");
    chosen.push('\n');
    let chosen: Value = serde_yaml_ng::from_str(&chosen)?;
    let resources = chosen["resources"].as_array().context("no resources")?.len();
    assert_eq!(resources + 1, listed.len());
    Ok(())
}

#[test]
fn the_kustomizations_list_every_file() -> Result<()> {
    lists_every_file("istio")?;
    lists_every_file("envoy-gateway")
}
