//! The manifests are what their kinds take, with no field that these would not know.
//!
//! Istio's kinds are those of the crates `kcr_extensions_istio_io` and `kcr_networking_istio_io`,
//! which are generated from its CRDs; the lock file says of which day. No package has those of Envoy
//! Gateway, whose kinds are written down here from `api/v1alpha1` of Envoy Gateway 1.9.0, as far as
//! they are used.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kcr_extensions_istio_io::v1alpha1::wasmplugins::{WasmPlugin, WasmPluginType};
use kcr_networking_istio_io::v1alpha3::envoyfilters::EnvoyFilter;
use redistribution::config::{LbConfig, NodeConfig, Role};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::manifests::{manifest, manifests};

/// Reads `value` as a `T`, where a field that a `T` does not have is a mistake.
fn strictly<T: DeserializeOwned>(value: &Value) -> Result<T> {
    let mut unknown = Vec::new();
    let read = serde_ignored::deserialize(value, |path| unknown.push(path.to_string()))?;
    // These two tell a manifest's kind; types of a kind have no fields for them.
    unknown.retain(|path| path != "apiVersion" && path != "kind");
    ensure!(unknown.is_empty(), "unknown fields: {unknown:?}");
    Ok(read)
}

/// Checks a manifest against its kind.
fn check(manifest: &Value) -> Result<()> {
    let kind = (manifest["apiVersion"].as_str(), manifest["kind"].as_str());
    match kind {
        (Some("extensions.istio.io/v1alpha1"), Some("WasmPlugin")) => {
            let plugin: WasmPlugin = strictly(manifest)?;
            ensure!(plugin.spec.url.starts_with("oci://"), "no image");
            configuration(plugin.spec.plugin_name.as_deref(), &manifest["spec"]["pluginConfig"])
        }
        (Some("networking.istio.io/v1alpha3"), Some("EnvoyFilter")) => {
            strictly::<EnvoyFilter>(manifest).map(drop)
        }
        (Some("v1"), Some("ConfigMap")) => strictly::<ConfigMap>(manifest).map(drop),
        (Some("gateway.envoyproxy.io/v1alpha1"), Some("EnvoyExtensionPolicy")) => {
            let policy: Resource<ExtensionPolicy> = strictly(manifest)?;
            policy.spec.check()
        }
        (Some("gateway.envoyproxy.io/v1alpha1"), Some("EnvoyPatchPolicy")) => {
            strictly::<Resource<PatchPolicy>>(manifest).map(drop)
        }
        unknown => anyhow::bail!("{unknown:?}"),
    }
}

/// The filter takes its configuration, and has the role that its name says.
fn configuration(name: Option<&str>, json: &Value) -> Result<()> {
    let json = json.to_string();
    let role = match name {
        Some("spillway.node") => {
            NodeConfig::parse(json.as_bytes())?;
            return Ok(());
        }
        Some("spillway.http") => Role::Http,
        Some("spillway.connection") => Role::Connection,
        unknown => anyhow::bail!("{unknown:?}"),
    };
    ensure!(LbConfig::parse(json.as_bytes())?.role == role, "not of its role: {json}");
    Ok(())
}

// === Envoy Gateway ===

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "what counts is that it can be read")]
struct Resource<S> {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: S,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "likewise")]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExtensionPolicy {
    target_refs: Vec<Target>,
    #[serde(default)]
    lua: Vec<Lua>,
    wasm: Vec<Wasm>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "likewise")]
struct Target {
    group: String,
    kind: String,
    name: String,
    section_name: Option<String>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "likewise")]
struct Lua {
    r#type: LuaType,
    inline: String,
}

#[derive(Deserialize)]
enum LuaType {
    Inline,
}

#[derive(Deserialize)]
struct Wasm {
    name: String,
    #[serde(rename = "rootID")]
    root_id: String,
    code: Code,
    config: Value,
    #[serde(rename = "failOpen")]
    fail_open: bool,
}

/// Of the type that is used.
#[derive(Deserialize)]
#[expect(dead_code, reason = "likewise")]
struct Code {
    r#type: CodeType,
    image: Image,
}

#[derive(Deserialize)]
enum CodeType {
    Image,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "likewise")]
struct Image {
    url: String,
    sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "likewise")]
struct PatchPolicy {
    target_ref: Target,
    r#type: PatchType,
    json_patches: Vec<JsonPatch>,
}

#[derive(Deserialize)]
enum PatchType {
    #[serde(rename = "JSONPatch")]
    JsonPatch,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "likewise")]
struct JsonPatch {
    r#type: String,
    name: String,
    operation: Operation,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "likewise")]
struct Operation {
    op: Op,
    path: String,
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Add,
    Replace,
}

impl ExtensionPolicy {
    /// The rules that the schema has besides types (`XValidation`), and what this project wants.
    fn check(&self) -> Result<()> {
        for target in &self.target_refs {
            ensure!(target.group == "gateway.networking.k8s.io" && target.kind == "Gateway");
        }
        ensure!(self.lua.len() <= 16 && self.wasm.len() <= 16);
        for wasm in &self.wasm {
            ensure!(wasm.fail_open && wasm.root_id == wasm.name, "{}", wasm.name);
            ensure!(!wasm.code.image.url.contains("://"), "{}", wasm.code.image.url);
            configuration(Some(&wasm.name), &wasm.config)?;
        }
        Ok(())
    }
}

#[test]
fn each_manifest_is_one_of_its_kind() -> Result<()> {
    for folder in ["istio", "envoy-gateway"] {
        for manifest in manifests(folder)? {
            check(&manifest.value).with_context(|| manifest.file)?;
        }
    }
    Ok(())
}

/// Without this, the other test would show nothing.
#[test]
fn a_misspelled_field_or_value_is_found() -> Result<()> {
    let cases = [
        ("istio", "spillway-http", "/spec", "failStrategy", "FAIL_OPEN", "FAIL_OPENLY"),
        ("istio", "spillway-connection", "/spec", "type", "NETWORK", "network"),
        ("istio", "spillway-node", "/spec/match/0", "mode", "SERVER", "INBOUND"),
        ("istio", "spillway-announce", "/spec/configPatches/0", "applyTo", "CLUSTER", "CLUSTERS"),
        ("envoy-gateway", "spillway", "/spec/wasm/0/code", "type", "Image", "image"),
        ("envoy-gateway", "spillway-node", "/spec/targetRefs/0", "kind", "Gateway", "Service"),
        ("envoy-gateway", "spillway-announce", "/spec/jsonPatches/0/operation", "op", "add", "put"),
    ];
    for (folder, name, place, field, value, wrong) in cases {
        let right = manifest(folder, name)?;
        check(&right)?;
        let mut misspelled = right.clone();
        let object = misspelled.pointer_mut(place).and_then(Value::as_object_mut).context(place)?;
        assert_eq!(object[field], value);
        object.insert(format!("{field}s"), value.into());
        assert!(check(&misspelled).is_err(), "{name}: {field}s is taken");
        let mut misspelled = right;
        let object = misspelled.pointer_mut(place).and_then(Value::as_object_mut).context(place)?;
        object.insert(field.to_owned(), wrong.into());
        assert!(check(&misspelled).is_err(), "{name}: {wrong} is taken");
    }
    let mut plugin = manifest("istio", "spillway-node")?;
    plugin["spec"]["pluginConfig"]["mod"] = "enforce".into();
    assert!(check(&plugin).is_err());
    Ok(())
}

/// Of one image and one checksum, as Istio's two plugins have to be to share a VM.
#[test]
fn both_roles_are_of_one_module() -> Result<()> {
    let [http, connection]: [WasmPlugin; 2] = [
        strictly(&manifest("istio", "spillway-http")?)?,
        strictly(&manifest("istio", "spillway-connection")?)?,
    ];
    assert_eq!(http.spec.url, connection.spec.url);
    assert_eq!(http.spec.sha256, connection.spec.sha256);
    assert_eq!(http.spec.vm_config, connection.spec.vm_config);
    assert_eq!(http.spec.selector, connection.spec.selector);
    assert_eq!(http.spec.r#type, Some(WasmPluginType::Http));
    assert_eq!(connection.spec.r#type, Some(WasmPluginType::Network));
    Ok(())
}
