//! Every YAML file of the repository is loaded by a test.
//!
//! Envoy's are loaded here, by `envoy --mode validate`, laid out in a folder as they would be in
//! `/etc/spillway/`. For all others a test is named that loads them. A file that is of neither kind
//! fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::artifacts::{filters, workspace};
use integration::envoy::locate;
use integration::fleet::read_yaml;
use integration::tls::TestCertificates;
use serde_json::Value;
use tempfile::TempDir;

/// Where the shipped configurations expect their files.
const INSTALLED: &str = "/etc/spillway";

/// Complete configurations of an Envoy.
const BOOTSTRAPS: &[&str] = &[
    "envoy-configs/compose/application.yaml",
    "envoy-configs/compose/edge.yaml",
    "envoy-configs/compose/node.yaml",
    "envoy-configs/edge-http3.yaml",
    "envoy-configs/edge-native-drain.yaml",
    "envoy-configs/edge.yaml",
    "envoy-configs/node.yaml",
    "envoy-configs/xds/edge.yaml",
    "envoy-configs/xds/node.yaml",
];

/// Parts to be added to edge.yaml, and the place there.
const PARTS: &[(&str, &str)] = &[
    ("envoy-configs/access-log.yaml", MANAGER),
    ("envoy-configs/downstream-tls.yaml", "/static_resources/listeners/0/filter_chains/0"),
];

const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/1/typed_config";

/// Filters that an Envoy discovers, and the configuration that they are a part of.
const DISCOVERED: &[(&str, &str)] = &[
    ("spillway.connection", "edge.yaml"),
    ("spillway.http", "edge.yaml"),
    ("spillway.node", "node.yaml"),
];

/// All others, by how their paths begin, and the test in `integration/tests/` that loads them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("docker-compose.yml", "compose"),
    ("envoy-configs/envoy-gateway/", "kubernetes"),
    ("envoy-configs/istio/", "kubernetes"),
    ("envoy-configs/grafana/", "e2e/observe"),
    ("envoy-configs/prometheus/", "e2e/observe"),
];

fn tracked() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    let patterns = ["*.yaml", "*.yml", "*.YAML", "*.YML"];
    let listed = git.args(["ls-files", "--"]).args(patterns).current_dir(workspace()).output()?;
    ensure!(listed.status.success(), "git ls-files failed: {listed:?}");
    Ok(String::from_utf8(listed.stdout)?.lines().map(ToOwned::to_owned).collect())
}

/// The sources of the test of this name.
fn sources(test: &str) -> Result<String> {
    let tests = workspace().join("integration/tests");
    let file = tests.join(format!("{test}.rs"));
    if file.exists() {
        return Ok(fs::read_to_string(file)?);
    }
    let mut all = String::new();
    for entry in fs::read_dir(tests.join(test)).with_context(|| format!("no test {test}"))? {
        all += &fs::read_to_string(entry?.path())?;
    }
    Ok(all)
}

#[test]
fn each_has_a_test_that_loads_it() -> Result<()> {
    let discovered: Vec<_> =
        DISCOVERED.iter().map(|(name, _)| xds(&format!("{name}.yaml"))).collect();
    let mut by: BTreeMap<&str, &str> = BTreeMap::new();
    let files = tracked()?;
    assert!(files.len() > BOOTSTRAPS.len());
    for file in &files {
        let here = BOOTSTRAPS.contains(&file.as_str())
            || PARTS.iter().any(|(part, _)| part == file)
            || discovered.contains(file);
        let elsewhere = ELSEWHERE.iter().find(|(start, _)| file.starts_with(start));
        by.extend(elsewhere.copied());
        ensure!(here || elsewhere.is_some(), "no test loads {file}: name it in this one");
    }
    for file in BOOTSTRAPS {
        assert!(files.iter().any(|tracked| tracked == file), "there is no {file}");
    }
    for (start, test) in by {
        let name = Path::new(start).file_name().and_then(|name| name.to_str()).unwrap_or(start);
        assert!(sources(test)?.contains(name), "tests/{test} says nothing of {start}");
    }
    Ok(())
}

fn xds(file: &str) -> String {
    format!("envoy-configs/xds/{file}")
}

/// A folder with all that configurations expect in `/etc/spillway/`.
fn installed() -> Result<TempDir> {
    let folder = TempDir::with_prefix("spillway-etc-")?;
    let modules = filters()?.directory;
    for module in ["lb_filter.wasm", "node_filter.wasm"] {
        fs::copy(modules.join(module), folder.path().join(module))?;
    }
    let tls = folder.path().join("tls");
    fs::create_dir_all(&tls)?;
    let certificates = TestCertificates::new(&["edge.spillway.test"], &tls)?;
    fs::copy(certificates.certificate_path(), tls.join("certificate.pem"))?;
    fs::copy(certificates.key_path(), tls.join("key.pem"))?;
    fs::create_dir_all(folder.path().join("xds"))?;
    for (name, _) in DISCOVERED {
        let file = format!("{name}.yaml");
        let text = fs::read_to_string(workspace().join(xds(&file)))?;
        fs::write(folder.path().join("xds").join(&file), at(&text, folder.path()))?;
    }
    Ok(folder)
}

/// The text of a configuration for files in `folder`.
fn at(text: &str, folder: &Path) -> String {
    text.replace(INSTALLED, &folder.to_string_lossy())
}

/// Has Envoy load a configuration, and gives back what is wrong with it.
fn validate(name: &str, text: &str, folder: &Path) -> Result<Option<String>> {
    let path: PathBuf = folder.join(format!("validated-{}", name.replace('/', "-")));
    fs::write(&path, at(text, folder))?;
    let output = Command::new(&locate()?.path)
        .args(["--mode", "validate", "--service-node", "edge-1", "--log-level", "warning", "-c"])
        .arg(&path)
        .env("EDGE", "edge-1")
        .output()?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((!output.status.success()).then_some(log))
}

#[test]
fn envoy_loads_its_own() -> Result<()> {
    let folder = installed()?;
    let read = |file: &str| {
        fs::read_to_string(workspace().join(file)).with_context(|| format!("no {file}"))
    };
    for file in BOOTSTRAPS {
        let wrong = validate(file, &read(file)?, folder.path())?;
        assert_eq!(wrong, None, "{file}");
    }
    let edge = read_yaml(&workspace().join("envoy-configs/edge.yaml"))?;
    for (file, place) in PARTS {
        if !workspace().join(file).exists() {
            continue;
        }
        let Value::Object(part) = read_yaml(&workspace().join(file))? else {
            anyhow::bail!("{file} is no object");
        };
        let mut whole = edge.clone();
        let at = whole.pointer_mut(place).and_then(Value::as_object_mut);
        at.with_context(|| format!("edge.yaml has no {place}"))?.extend(part);
        assert_eq!(validate(file, &whole.to_string(), folder.path())?, None, "{file}");
    }
    // In this mode Envoy does not look into what is discovered, so that is put in its place.
    for (name, bootstrap) in DISCOVERED {
        let filter =
            read_yaml(&workspace().join(xds(&format!("{name}.yaml"))))?["resources"][0].clone();
        let mut filter = filter;
        filter.as_object_mut().context("no filter")?.remove("@type");
        let mut whole = read_yaml(&workspace().join(xds(bootstrap)))?;
        assert!(replace(&mut whole, name, &filter), "{bootstrap} has no {name}");
        assert_eq!(validate(name, &whole.to_string(), folder.path())?, None, "{name}");
        // What would be found if it were wrong.
        let configuration = "/typed_config/config/configuration/value";
        *filter.pointer_mut(configuration).context("no configuration")? = "{\"no\": 1}".into();
        assert!(replace(&mut whole, name, &filter));
        let wrong = validate(name, &whole.to_string(), folder.path())?.unwrap_or_default();
        assert!(wrong.contains("no: 1: is not a field here"), "{name}: {wrong}");
    }
    Ok(())
}

/// Filters that are discovered are configured as those in a bootstrap, and all else is the same.
#[test]
fn what_is_discovered_is_as_shipped() -> Result<()> {
    for bootstrap in ["edge.yaml", "node.yaml"] {
        let mut whole = read_yaml(&workspace().join(xds(bootstrap)))?;
        for (name, _) in DISCOVERED.iter().filter(|(_, of)| *of == bootstrap) {
            let response = read_yaml(&workspace().join(xds(&format!("{name}.yaml"))))?;
            let mut filter = response["resources"][0].clone();
            filter.as_object_mut().context("no filter")?.remove("@type");
            assert!(replace(&mut whole, name, &filter), "{bootstrap} has no {name}");
        }
        let shipped = read_yaml(&workspace().join("envoy-configs").join(bootstrap))?;
        for field in ["node", "admin", "static_resources"] {
            assert_eq!(whole[field], shipped[field], "{field} of {bootstrap}");
        }
        // Labels of metrics, where these are shipped.
        assert!(
            shipped["stats_config"].is_null() || whole["stats_config"] == shipped["stats_config"]
        );
    }
    Ok(())
}

/// Puts `filter` where the one of this name is.
fn replace(value: &mut Value, name: &str, filter: &Value) -> bool {
    if value["name"] == name {
        *value = filter.clone();
        return true;
    }
    match value {
        Value::Object(fields) => fields.values_mut().any(|field| replace(field, name, filter)),
        Value::Array(items) => items.iter_mut().any(|item| replace(item, name, filter)),
        _ => false,
    }
}
