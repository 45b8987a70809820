//! The configurations of `docker-compose.yml` are the shipped ones, but for names and addresses, and
//! the tools take it.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result};
use integration::artifacts::workspace;
use integration::envoy::PINNED_VERSION;
use integration::fleet::{Bootstrap, read_yaml};
use serde_json::{Value, json};

use crate::fleet::{EDGES, NODES, OPTIONAL};
use crate::tools::{ended, found};

const ADMIN: &str = "/admin/address/socket_address/address";
const ENDPOINTS: &str = "/static_resources/clusters/0/load_assignment/endpoints";
const ANNOUNCEMENT: &str = "/static_resources/clusters/0/health_checks/0/http_health_check/request_headers_to_add/0/header";

/// What is configured, with what differs taken out, which is looked at before.
fn without(file: &str, differs: &[(&str, Value)]) -> Result<Value> {
    let mut bootstrap = Bootstrap::shipped(file)?;
    for (pointer, value) in differs {
        let place = bootstrap.at(pointer)?;
        assert_eq!(place, value, "{file}: {pointer}");
        *place = Value::Null;
    }
    Ok(bootstrap.into_value())
}

fn endpoints(names: &[&str], port: u16) -> Value {
    let endpoint = |name: &&str| {
        let address = json!({ "address": name, "port_value": port });
        json!({ "endpoint": { "address": { "socket_address": address } } })
    };
    let all: Vec<_> = names.iter().map(endpoint).collect();
    json!([{ "lb_endpoints": all }])
}

#[test]
fn edges_there_are_as_shipped() -> Result<()> {
    let announces = |id: &str| json!({ "key": "spillway-lb", "value": format!("id=\"{id}\"") });
    let shipped = without(
        "edge.yaml",
        &[
            ("/node/id", "edge-1".into()),
            (ADMIN, "127.0.0.1".into()),
            (ANNOUNCEMENT, announces("edge-1")),
            (ENDPOINTS, endpoints(&["node-1", "node-2"], 8080)),
        ],
    )?;
    let there = without(
        "compose/edge.yaml",
        &[
            ("/node/id", "edge".into()),
            (ADMIN, "0.0.0.0".into()),
            (ANNOUNCEMENT, announces("%ENVIRONMENT(EDGE)%")),
            (ENDPOINTS, endpoints(&["node-1", "node-2", "node-3", "node-4"], 8080)),
        ],
    )?;
    assert_eq!(there, shipped);
    Ok(())
}

#[test]
fn nodes_there_are_as_shipped() -> Result<()> {
    let shipped = without(
        "node.yaml",
        &[
            ("/node/id", "node-1".into()),
            (ADMIN, "127.0.0.1".into()),
            (ENDPOINTS, endpoints(&["127.0.0.1"], 3000)),
        ],
    )?;
    let there = without(
        "compose/node.yaml",
        &[
            ("/node/id", "node".into()),
            (ADMIN, "0.0.0.0".into()),
            (ENDPOINTS, endpoints(&["application"], 3000)),
        ],
    )?;
    assert_eq!(there, shipped);
    Ok(())
}

#[test]
fn every_service_of_the_compose_file_has_its_configuration() -> Result<()> {
    let path = workspace().join("docker-compose.yml");
    let text = std::fs::read_to_string(path).context("docker-compose.yml")?;
    for file in ["edge", "node", "application"] {
        assert!(text.contains(&format!("./envoy-configs/compose/{file}.yaml:")), "{file}");
    }
    Ok(())
}

/// With each of the tools that are here. Without the profile, docker-compose 1.29 shows what is in it
/// nevertheless, but does not start it, as the fleet shows.
#[test]
fn compose_takes_the_file_and_has_what_is_optional_in_a_profile() -> Result<()> {
    let file = read_yaml(&workspace().join("docker-compose.yml"))?;
    let services = file["services"].as_object().context("no services")?;
    let optional: Vec<_> =
        services.iter().filter(|(_, service)| !service["profiles"].is_null()).collect();
    assert!(optional.iter().all(|(_, service)| service["profiles"] == json!(["observability"])));
    let names: BTreeSet<_> = optional.into_iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(OPTIONAL));

    let Some(tools) = found()? else { return Ok(()) };
    for call in tools.compose {
        let config = |arguments: &[&str]| {
            let mut command = Command::new(call[0]);
            command.args(&call[1..]).args(["--profile", "observability", "config"]);
            ended(command.args(arguments).current_dir(workspace()).env_remove("ENVOY_IMAGE"))
        };
        let listed = config(&["--services"])?;
        let all = ["application", "clients"].into_iter().chain(EDGES).chain(NODES).chain(OPTIONAL);
        assert_eq!(listed.lines().collect::<BTreeSet<_>>(), all.collect(), "{call:?}");
        let taken: Value = serde_yaml_ng::from_str(&config(&[])?)?;
        let envoy = format!("envoyproxy/envoy:v{PINNED_VERSION}");
        for (name, service) in taken["services"].as_object().context("no services")? {
            let is_envoy = service["image"] == *envoy;
            assert_eq!(is_envoy, !OPTIONAL.contains(&name.as_str()), "{call:?}: {name}");
        }
    }
    Ok(())
}
