//! The least privilege: shipped configurations allow a module what it has imports and exports for, and
//! nothing else; and whatever it is refused, no request is held up.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use integration::artifacts::workspace;
use integration::fleet::read_yaml;
use serde_json::Value;
use wasmi::{Engine, Module};

use crate::cases::{at_an_edge, on_connection, plain, stamped};
use crate::vm::{Vm, wasm};

const NODE: &str =
    r#"{ "close_rate": { "per_second": 1000 }, "min_connection_age": "0s", "share_window": "1s" }"#;

/// What Envoy goes by: host calls by their names, and callbacks.
fn needed(module: &str) -> Result<BTreeSet<String>> {
    let module = Module::new(&Engine::default(), wasm(module)?)?;
    let imports = module.imports().map(|import| import.name().to_owned());
    let exports = module.exports().map(|export| export.name().to_owned());
    Ok(imports.chain(exports.filter(|name| name.starts_with("proxy_on_"))).collect())
}

/// All filters with a module in a configuration.
fn filters<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("vm_config") {
                found.push(value);
            }
            fields.values().for_each(|field| filters(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| filters(item, found)),
        _ => {}
    }
}

fn yaml_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            yaml_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn shipped_configurations_allow_what_the_modules_have_and_no_more() -> Result<()> {
    let mut files = Vec::new();
    yaml_files(&workspace().join("envoy-configs"), &mut files)?;
    let mut seen = 0;
    for file in files {
        if !fs::read_to_string(&file)?.contains("vm_config:") {
            continue;
        }
        let yaml = read_yaml(&file)?;
        let mut found = Vec::new();
        filters(&yaml, &mut found);
        for filter in found {
            let place = format!("{} in {}", filter["name"], file.display());
            let module = filter.pointer("/vm_config/code/local/filename").and_then(Value::as_str);
            let module = Path::new(module.with_context(|| place.clone())?).file_name();
            let module = module.and_then(|name| name.to_str()).context("no name")?;
            let allowed = &filter["capability_restriction_config"]["allowed_capabilities"];
            let allowed = allowed.as_object().with_context(|| format!("{place} allows all"))?;
            assert!(
                allowed
                    .values()
                    .all(|value| value.as_object().is_some_and(serde_json::Map::is_empty))
            );
            let allowed: BTreeSet<_> = allowed.keys().cloned().collect();
            let needed = needed(module)?;
            let missing: Vec<_> = needed.difference(&allowed).collect();
            let extra: Vec<_> = allowed.difference(&needed).collect();
            assert!(
                missing.is_empty() && extra.is_empty(),
                "{place}: {missing:?} are missing, {extra:?} are not needed"
            );
            seen += 1;
        }
    }
    // Those of edge.yaml, edge-native-drain.yaml, edge-http3.yaml (for two listeners) and node.yaml,
    // of compose/ and of xds/.
    assert_eq!(seen, 2 + 1 + 2 + 1 + 3 + 3);
    Ok(())
}

/// All host calls but the one that ends the module, which it makes only where it traps.
fn host_calls(module: &str) -> Result<Vec<String>> {
    let module = Module::new(&Engine::default(), wasm(module)?)?;
    let names = module.imports().map(|import| import.name().to_owned());
    Ok(names.filter(|name| name != "proc_exit").collect())
}

#[test]
fn whichever_host_call_a_node_is_refused_requests_pass() -> Result<()> {
    for call in host_calls("node_filter.wasm")? {
        let mut vm = Vm::start_without("node_filter.wasm", Some(&call))?;
        // It may refuse to start, and then stands aside.
        let root = vm.configure(NODE).unwrap_or(1);
        for number in 1..300 {
            stamped(&mut vm, root, number).with_context(|| format!("without {call}"))?;
            if number % 10 == 0 {
                vm.tick()?;
            }
        }
    }
    Ok(())
}

#[test]
fn whichever_host_call_an_edge_is_refused_requests_and_connections_pass() -> Result<()> {
    for call in host_calls("lb_filter.wasm")? {
        edge_without(&call).with_context(|| format!("without {call}"))?;
    }
    Ok(())
}

fn edge_without(call: &str) -> Result<()> {
    const WROTE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let mut vm = at_an_edge(Vm::start_without("lb_filter.wasm", Some(call))?);
    let connection_role = vm.configure(r#"{ "role": "connection" }"#).unwrap_or(1);
    let http_role = vm.configure(r#"{ "role": "http" }"#).unwrap_or(2);
    for number in 0..30 {
        on_connection(vm.host(), number);
        let connection = vm.connect(connection_role)?;
        let stamp = vm.host().header(crate::host::REQUEST_HEADERS, "spillway-lb");
        let vm_token = stamp.and_then(|stamp| {
            let text = std::str::from_utf8(stamp).ok()?;
            Some(text.split_once("vm=")?.1.split(',').next()?.to_owned())
        });
        let own = vm_token.unwrap_or("x".into());
        let close = format!("lb=\"edge-1\", conns=({number};vm={own} 1;vm=other)");
        let mut exchange = plain(&[2]);
        let closing = [(":status", "200"), ("spillway-close", close.as_str())];
        exchange.response = &closing;
        vm.read(connection, b"GET")?;
        vm.exchange(http_role, &exchange)?;
        assert!(vm.write(connection, WROTE)?.ends_with(b"\r\n\r\nok"));
        vm.tick()?;
        vm.disconnect(connection)?;
    }
    Ok(())
}
