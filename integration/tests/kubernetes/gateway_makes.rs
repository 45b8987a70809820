//! The Envoy configuration that Envoy Gateway makes of the manifests.
//!
//! From its sources at 1.9.0: `internal/xds/translator` (`wasm.go`, `lua.go`, `httpfilters.go`, and
//! what their tests expect), `internal/gatewayapi/envoyextensionpolicy.go`.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use integration::artifacts::filters;
use integration::fleet::Bootstrap;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::manifests::{manifest, patch_value};
use crate::support::set;

/// The pod's name.
pub const GATEWAY_ID: &str = "envoy-default-my-gateway-5f6d7c8b9-abcde";
/// What a gateway's pod has in its environment, and so its Envoy.
pub const GATEWAY_ENVIRONMENT: &[(&str, &str)] = &[("ENVOY_POD_NAME", GATEWAY_ID)];

const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters.http";
const CONNECTION_MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters";

/// The HTTP filters of an `EnvoyExtensionPolicy` in their order: all are there but disabled, and
/// enabled by the routes. `overlay` is laid over the configuration of the Wasm filter.
fn http_filters(name: &str, overlay: &Value) -> Result<Vec<Value>> {
    let policy = manifest("envoy-gateway", name)?;
    let namespace = policy["metadata"]["namespace"].as_str().context("no namespace")?;
    let of_policy = format!("envoyextensionpolicy/{namespace}/{name}");
    let mut made = Vec::new();
    for (index, lua) in policy["spec"]["lua"].as_array().into_iter().flatten().enumerate() {
        made.push(json!({
            "name": format!("envoy.filters.http.lua/{of_policy}/lua/{index}"),
            "disabled": true,
            "typed_config": {
                "@type": format!("{FILTERS}.lua.v3.Lua"),
                "default_source_code": { "inline_string": lua["inline"] },
            },
        }));
    }
    for (index, wasm) in policy["spec"]["wasm"].as_array().into_iter().flatten().enumerate() {
        let id = format!("{of_policy}/wasm/{index}");
        let mut configuration = wasm["config"].clone();
        set(&mut configuration, overlay);
        let module = module(&wasm["code"]["image"])?;
        let checksum = digest(&SHA256, &std::fs::read(filters()?.directory.join(&module))?);
        let checksum = checksum.as_ref().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        made.push(json!({
            "name": format!("envoy.filters.http.wasm/{id}"),
            "disabled": true,
            "typed_config": {
                "@type": format!("{FILTERS}.wasm.v3.Wasm"),
                "config": {
                    "name": wasm["name"],
                    "root_id": wasm["rootID"],
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": configuration.to_string(),
                    },
                    "fail_open": wasm["failOpen"],
                    "vm_config": {
                        "vm_id": id,
                        "runtime": "envoy.wasm.runtime.v8",
                        // Envoy Gateway takes the module out of the image and serves it.
                        "code": { "remote": {
                            "http_uri": {
                                "uri": format!("http://envoy-gateway:18002/{module}"),
                                "cluster": "wasm_cluster",
                                "timeout": "10s",
                            },
                            "sha256": checksum,
                            "retry_policy": {
                                "num_retries": 10,
                                "retry_back_off": { "base_interval": "1s", "max_interval": "30s" },
                            },
                        } },
                    },
                },
            },
        }));
    }
    Ok(made)
}

/// The module of an image.
fn module(image: &Value) -> Result<String> {
    let url = image["url"].as_str().context("no url")?;
    let (name, _) = url.rsplit('/').next().and_then(|n| n.split_once(':')).context("no tag")?;
    Ok(format!("{}.wasm", name.replace('-', "_")))
}

/// Puts the filters of a policy into an Envoy, instead of those of `envoy-configs`.
pub fn extend(envoy: &mut Bootstrap, policy: &str, overlay: &Value) -> Result<()> {
    let made = http_filters(policy, overlay)?;
    let enabled =
        json!({ "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {} });
    let enabled: serde_json::Map<_, _> = made
        .iter()
        .filter_map(|filter| Some((filter["name"].as_str()?.to_owned(), enabled.clone())))
        .collect();
    let filters = envoy.http_filters()?;
    filters.splice(0..0, made);
    let managers = envoy.at(CONNECTION_MANAGER)?.as_array_mut().context("no filters")?;
    let manager = managers.last_mut().context("no manager")?;
    let routes = manager.pointer_mut("/typed_config/route_config/virtual_hosts/0/routes");
    for route in routes.and_then(Value::as_array_mut).context("no routes")? {
        set(route, &json!({ "typed_per_filter_config": enabled }));
    }
    // Where Envoy Gateway serves modules. Here the application does.
    let clusters = envoy.at("/static_resources/clusters")?.as_array_mut().context("no clusters")?;
    let mut modules = clusters.first().context("no cluster")?.clone();
    set(&mut modules, &json!({ "name": "wasm_cluster", "health_checks": null }));
    clusters.push(modules);
    Ok(())
}

/// Makes a gateway of an edge.
pub fn gateway(edge: &mut Bootstrap, overlay: &Value) -> Result<()> {
    edge.without("spillway.connection")?;
    edge.without("spillway.http")?;
    set(edge.at("/node")?, &json!({ "id": GATEWAY_ID }));
    edge.connection_manager(&json!({
        "http2_protocol_options": {
            "initial_connection_window_size": 1_048_576,
            "initial_stream_window_size": 65_536,
            "max_concurrent_streams": 100,
        },
        "common_http_protocol_options": { "headers_with_underscores_action": "REJECT_REQUEST" },
        "merge_slashes": true,
        "normalize_path": true,
    }))?;
    let listener = edge.at("/static_resources/listeners/0")?;
    set(listener, &json!({ "per_connection_buffer_limit_bytes": 32_768 }));
    extend(edge, "spillway", overlay)
}

/// Does what the `EnvoyPatchPolicy` says.
pub fn announce(edge: &mut Bootstrap) -> Result<()> {
    let policy = manifest("envoy-gateway", "spillway-announce")?;
    assert_eq!(policy["spec"]["jsonPatches"][0]["operation"]["path"], "/health_checks");
    let value = patch_value("envoy-gateway", "spillway-announce")?;
    set(edge.at("/static_resources/clusters/0")?, &json!({ "health_checks": value }));
    Ok(())
}
