//! A bad configuration is refused at start, with all that is wrong with it.

use anyhow::Result;
use integration::artifacts::filters;
use integration::envoy::{Envoy, EnvoyOptions, locate};
use integration::fleet::{Bootstrap, Endpoint};
use integration::loopback::LoopbackBlock;
use tempfile::TempDir;

/// Starts the shipped configuration with this text for the filter, and returns Envoy's log.
async fn refusal(file: &str, filter: &str, configuration: &str) -> Result<String> {
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
        let _ = bootstrap.spillway(name, &modules, &serde_json::json!({}));
    }
    bootstrap.raw_configuration(filter, configuration)?;
    let bootstrap = bootstrap.into_value();
    let binary = locate()?;
    Envoy::expect_refusal(EnvoyOptions::new(&binary, "bad-1", &bootstrap, directory.path())).await
}

#[tokio::test]
async fn of_the_node_filter() -> Result<()> {
    let configuration =
        r#"{"close_rat": {}, "mode": 1, "close_rate": {"per_second": -5}, "share_window": "0s"}"#;
    let log = refusal("node.yaml", "spillway.node", configuration).await?;
    for message in [
        "4 mistakes in the configuration:",
        "close_rat: {}: is not a field here; these are: ",
        "mode: 1: must be \"enforce\" or \"observe\"",
        "close_rate.per_second: -5: must be a number from 0 to 10000",
        "share_window: \"0s\": must be a duration from 1s to 1h",
    ] {
        assert!(log.contains(message), "no {message:?} in\n{log}");
    }
    Ok(())
}

#[tokio::test]
async fn of_either_role_of_the_lb_filter() -> Result<()> {
    let configuration = r#"{"rol": "http", "weight": "2", "drain_timeout": "9h"}"#;
    for filter in ["spillway.http", "spillway.connection"] {
        let log = refusal("edge.yaml", filter, configuration).await?;
        for message in [
            "3 mistakes in the configuration:",
            "rol: \"http\": is not a field here; these are: role, id, ",
            "weight: \"2\": must be a number from 0.001 to 1000000",
            "drain_timeout: \"9h\": must be a duration from 100ms to 1h",
        ] {
            assert!(log.contains(message), "no {message:?} in\n{log}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn that_is_not_json() -> Result<()> {
    let log = refusal("edge.yaml", "spillway.http", "role: http").await?;
    assert!(log.contains("role: http: is not JSON (expected value at line 1 column 1)"), "{log}");
    Ok(())
}
