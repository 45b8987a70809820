//! A bad configuration is refused when Envoy starts, with all that is wrong with it.

use anyhow::{Context, Result};
use integration::artifacts::filters;
use integration::envoy::{Envoy, EnvoyOptions, locate};
use integration::fleet::{Bootstrap, Endpoint};
use integration::loopback::LoopbackBlock;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Starts the shipped configuration with this one for the filter, and returns Envoy's log.
async fn refusal(file: &str, filter: &str, configuration: Value) -> Result<String> {
    let block = LoopbackBlock::claim()?;
    let directory = TempDir::new()?;
    let ip = block.address(1);
    let mut bootstrap = Bootstrap::shipped(file)?;
    let admin = (ip, block.free_port(ip)?).into();
    bootstrap.listen("bad-1", (ip, block.free_port(ip)?).into(), admin)?;
    bootstrap.upstreams(&[Endpoint { address: (ip, block.free_port(ip)?).into(), weight: 1 }])?;
    let modules = filters()?.directory;
    for name in ["spillway.http", "spillway.connection", "spillway.node"] {
        // Only those of this file are there.
        let _ = bootstrap.spillway(name, &modules, &json!({}));
    }
    let place = bootstrap.filter(filter)?.pointer_mut("/typed_config/config/configuration");
    *place.context("no configuration")? = configuration;
    let bootstrap = bootstrap.into_value();
    let binary = locate()?;
    Envoy::expect_refusal(EnvoyOptions::new(&binary, "bad-1", &bootstrap, directory.path())).await
}

/// A configuration as the shipped files have it.
fn text(text: &str) -> Value {
    json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text })
}

async fn says(file: &str, filter: &str, configuration: Value, messages: &[&str]) -> Result<()> {
    let log = refusal(file, filter, configuration).await?;
    for message in messages {
        // A log that has all of 10 MiB does not help.
        let beginning: String = log.chars().take(10_000).collect();
        assert!(log.contains(message), "no {message:?} in\n{beginning}");
    }
    Ok(())
}

#[tokio::test]
async fn of_the_node_filter() -> Result<()> {
    let all =
        r#"{"close_rat": {}, "mode": 1, "close_rate": {"per_second": -5}, "share_window": "0s"}"#;
    let all_said = [
        "4 mistakes in the configuration:",
        "close_rat: {}: is not a field here (did you mean close_rate?); these are: ",
        "mode: 1: must be \"enforce\" or \"observe\"",
        "close_rate.per_second: -5: must be a number from 0 to 10000",
        "share_window: \"0s\": must be a duration from 1s to 1h",
    ];
    says("node.yaml", "spillway.node", text(all), &all_said).await?;
    for (configuration, said) in [
        (
            r#"{"close_rate": {"per_second": NaN}}"#,
            r#"{"close_rate": {"per_second": NaN}}: is not JSON (expected value at line 1 column 31)"#,
        ),
        (
            r#"{"lb_timeout": "2s", "share_window": "3s"}"#,
            "lb_timeout: \"2s\": must not be shorter than share_window (3s)",
        ),
        (r#"{"share": {"nodes": 4, "nodes": 5}}"#, "share.nodes: 5: is there already"),
    ] {
        says("node.yaml", "spillway.node", text(configuration), &[said]).await?;
    }
    let bytes = json!({
        "@type": "type.googleapis.com/google.protobuf.BytesValue",
        // {"mode": "enforc\xe9"}
        "value": "eyJtb2RlIjogImVuZm9yY+kifQ==",
    });
    says("node.yaml", "spillway.node", bytes, &["is not JSON (invalid unicode code point"]).await
}

#[tokio::test]
async fn of_either_role_of_the_lb_filter() -> Result<()> {
    let configuration = r#"{"rol": "http", "weight": "2", "drain_timeout": "9h"}"#;
    let said = [
        "3 mistakes in the configuration:",
        "rol: \"http\": is not a field here (did you mean role?); these are: role, id, ",
        "weight: \"2\": must be a number from 0.001 to 1000000",
        "drain_timeout: \"9h\": must be a duration from 100ms to 1h",
    ];
    for filter in ["spillway.http", "spillway.connection"] {
        says("edge.yaml", filter, text(configuration), &said).await?;
    }
    let said = ["role: http: is not JSON (expected value at line 1 column 1)"];
    says("edge.yaml", "spillway.http", text("role: http"), &said).await
}

#[tokio::test]
async fn that_is_enormous() -> Result<()> {
    let long = format!(r#"{{"mode": "{}"}}"#, "e".repeat(10 << 20));
    let deep = "{\"share\":".repeat(5000) + "1" + &"}".repeat(5000);
    let said = ["is longer than 65536 bytes"];
    says("node.yaml", "spillway.node", text(&long), &said).await?;
    says("edge.yaml", "spillway.connection", text(&long), &said).await?;
    let said = ["is not JSON (recursion limit exceeded at line 1 column "];
    says("node.yaml", "spillway.node", text(&deep), &said).await?;
    says("edge.yaml", "spillway.http", text(&deep), &said).await
}
