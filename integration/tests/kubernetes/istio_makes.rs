//! The Envoy configuration that Istio makes of the manifests.
//!
//! From Istio's sources at 1.31.0-rc.0: `pilot/pkg/model/extensions.go` (the filter of a plugin),
//! `pilot/pkg/networking/core` (`listener_builder.go`, `gateway.go`: its place),
//! `core/extension/extensionfilter.go` (ECDS), `pkg/wasm/convert.go` (what the agent changes before
//! Envoy gets it), `pkg/bootstrap` (node id and metrics).

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use integration::artifacts::filters;
use integration::fleet::Bootstrap;
use serde_json::{Value, json};

use crate::manifests::{manifest, patch_value};
use crate::support::{merge, set};

/// The type, the pod's address, its name and namespace, and the domain.
pub const GATEWAY_ID: &str =
    "router~127.0.0.1~gateway-7d9f8c6d5b-x2x4v.istio-system~istio-system.svc.cluster.local";
/// What a gateway's pod has in its environment, and so its Envoy.
pub const GATEWAY_ENVIRONMENT: &[(&str, &str)] = &[
    ("INSTANCE_IP", "127.0.0.1"),
    ("POD_NAME", "gateway-7d9f8c6d5b-x2x4v"),
    ("POD_NAMESPACE", "istio-system"),
];
const SIDECAR_ID: &str = "sidecar~127.0.0.1~my-app-6b7c-9z8y7.default~default.svc.cluster.local";

const TYPE_URL: &str = "type.googleapis.com/envoy.extensions.filters";

/// What is in force of a `WasmPlugin`: `overlay` is laid over its `pluginConfig`.
pub fn filter(name: &str, overlay: &Value) -> Result<Value> {
    let plugin = manifest("istio", name)?;
    let spec = &plugin["spec"];
    let namespace = plugin["metadata"]["namespace"].as_str().context("no namespace")?;
    let kind = match spec["type"].as_str() {
        Some("NETWORK") => "network",
        _ => "http",
    };
    let failure_policy = match spec["failStrategy"].as_str() {
        Some("FAIL_OPEN") => "FAIL_OPEN",
        Some("FAIL_RELOAD") => "FAIL_RELOAD",
        _ => "FAIL_CLOSED",
    };
    let mut configuration = spec["pluginConfig"].clone();
    set(&mut configuration, overlay);
    let wasm = json!({
        "@type": format!("{TYPE_URL}.{kind}.wasm.v3.Wasm"),
        "config": {
            "name": format!("{namespace}.{name}"),
            "root_id": spec["pluginName"],
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": configuration.to_string(),
            },
            // No vm_id and no configuration. The agent has put its copy of the module in the place
            // of the image, and has taken out its own variables, which leaves none.
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": { "local": { "filename": module(spec)? } },
            },
            "failure_policy": failure_policy,
        },
    });
    let resource = format!(
        "extensions.istio.io/trafficextension/{namespace}.{name}~istio-translated-wasmplugin"
    );
    let path = deliver(&json!({
        "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
        "name": resource,
        "typed_config": wasm,
    }))?;
    Ok(json!({
        "name": resource,
        "config_discovery": {
            // Istio's is ADS; nothing else differs.
            "config_source": {
                "path_config_source": { "path": path },
                "resource_api_version": "V3",
                "initial_fetch_timeout": "0s",
            },
            "type_urls": [
                format!("{TYPE_URL}.{kind}.wasm.v3.Wasm"),
                format!("{TYPE_URL}.{kind}.rbac.v3.RBAC"),
            ],
        },
    }))
}

/// The module of a plugin's image.
fn module(spec: &Value) -> Result<PathBuf> {
    let url = spec["url"].as_str().context("no url")?;
    let image =
        url.strip_prefix("oci://").context("no image")?.rsplit('/').next().context("no name")?;
    let (name, _) = image.split_once(':').context("no tag")?;
    Ok(filters()?.directory.join(format!("{}.wasm", name.replace('-', "_"))))
}

/// Puts a resource where Envoy finds it.
fn deliver(resource: &Value) -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("istio-ecds-{number}.json"));
    std::fs::write(&path, json!({ "resources": [resource] }).to_string())?;
    Ok(path)
}

/// Makes a gateway of an edge, without filters of ours.
pub fn gateway(edge: &mut Bootstrap) -> Result<()> {
    edge.without("spillway.connection")?;
    edge.without("spillway.http")?;
    set(edge.at("/node")?, &json!({ "id": GATEWAY_ID }));
    edge.connection_manager(&json!({
        "stream_idle_timeout": "0s",
        "normalize_path": true,
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
    }))?;
    // What Istio has between plugins and the router, as far as Envoy has it without Istio.
    let filters = edge.http_filters()?;
    let router = filters.len() - 1;
    for (name, config) in [
        ("grpc_stats", "grpc_stats.v3.FilterConfig"),
        ("fault", "fault.v3.HTTPFault"),
        ("cors", "cors.v3.Cors"),
    ] {
        let config = json!({ "@type": format!("{TYPE_URL}.http.{config}") });
        let name = format!("envoy.filters.http.{name}");
        filters.insert(router, json!({ "name": name, "typed_config": config }));
    }
    metrics(edge)
}

/// Puts the network plugin in front of the HTTP connection manager.
pub fn network_plugin(edge: &mut Bootstrap, name: &str, overlay: &Value) -> Result<()> {
    let chain = edge.at("/static_resources/listeners/0/filter_chains/0/filters")?;
    chain.as_array_mut().context("no filters")?.insert(0, filter(name, overlay)?);
    Ok(())
}

/// Puts the HTTP plugin of phase `AUTHN` in front of the others.
pub fn http_plugin(envoy: &mut Bootstrap, name: &str, overlay: &Value) -> Result<()> {
    envoy.http_filters()?.insert(0, filter(name, overlay)?);
    Ok(())
}

/// Does what an `EnvoyFilter` says, as those that are shipped have it.
pub fn patch(edge: &mut Bootstrap, name: &str) -> Result<()> {
    let value = patch_value("istio", name)?;
    let patch = &manifest("istio", name)?["spec"]["configPatches"][0];
    match (patch["applyTo"].as_str(), patch["patch"]["operation"].as_str()) {
        (Some("HTTP_FILTER"), Some("INSERT_FIRST")) => edge.http_filters()?.insert(0, value),
        (Some("CLUSTER"), Some("MERGE")) => {
            let cluster = edge.at("/static_resources/clusters/0")?;
            // Istio makes no health checks; those of edge.yaml are not to stand in for them.
            set(cluster, &json!({ "health_checks": null }));
            merge(cluster, &value);
        }
        unknown => anyhow::bail!("{unknown:?}"),
    }
    Ok(())
}

/// Makes a node's Envoy a sidecar with the shipped plugin.
pub fn sidecar(node: &mut Bootstrap, overlay: &Value) -> Result<()> {
    node.without("spillway.node")?;
    set(node.at("/node")?, &json!({ "id": SIDECAR_ID }));
    http_plugin(node, "spillway-node", overlay)?;
    metrics(node)
}

/// Istio lets Envoy keep few metrics: those whose names begin like this, among others.
fn metrics(envoy: &mut Bootstrap) -> Result<()> {
    let prefixes = ["cluster_manager", "listener_manager", "server", "cluster.xds-grpc", "wasm"];
    let patterns = prefixes.map(|prefix| json!({ "prefix": prefix }));
    let stats = json!({ "stats_config": {
        "use_all_default_tags": false,
        "stats_matcher": { "inclusion_list": { "patterns": patterns } },
    } });
    merge(envoy.at("")?, &stats);
    Ok(())
}
