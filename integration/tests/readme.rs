//! The README is true: its configurations are those that run, its commands run, and what it names is
//! there.

use anyhow::{Context, Result};
use integration::artifacts::{BUILD, filters, workspace};
use integration::fleet::{Fleet, FleetSpec, read_yaml};
use redistribution::close_rate::CloseRate;
use redistribution::config::{LbConfig, NodeConfig};
use redistribution::rebalance::Rebalance;
use serde_json::Value;
use tokio::process::Command;

fn readme() -> Result<String> {
    std::fs::read_to_string(workspace().join("README.md")).context("there is no README.md")
}

/// The blocks of the README that are marked as `language`.
fn blocks(language: &str) -> Result<Vec<String>> {
    let text = readme()?;
    let fence = format!("```{language}\n");
    let found: Vec<_> = text
        .split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split_once("\n```").map(|(block, _)| block.to_owned()))
        .collect();
    anyhow::ensure!(!found.is_empty(), "the README has no block of {language}");
    Ok(found)
}

/// The filter of that name, wherever it stands in a configuration.
fn find<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(fields) if fields.get("name").is_some_and(|found| found == name) => {
            Some(value)
        }
        Value::Object(fields) => fields.values().find_map(|field| find(field, name)),
        Value::Array(items) => items.iter().find_map(|item| find(item, name)),
        _ => None,
    }
}

#[test]
fn its_yaml_is_that_of_the_configurations_that_the_tests_run() -> Result<()> {
    for block in blocks("yaml")? {
        let file = block.lines().next().and_then(|line| line.strip_prefix("# from "));
        let file = file.context("a block does not say which file it is from")?;
        let shown: Value = serde_yaml_ng::from_str(&format!("{block}\n"))?;
        let name = shown["name"].as_str().context("a block is no filter")?;
        let shipped = read_yaml(&workspace().join("envoy-configs").join(file))?;
        let mut shipped = find(&shipped, name).with_context(|| format!("no {name}"))?.clone();
        // Too long to be shown; what is around it says where it is.
        let config = shipped.pointer_mut("/typed_config/config").and_then(Value::as_object_mut);
        let list = config.and_then(|config| config.remove("capability_restriction_config"));
        assert!(list.is_some(), "{name} in {file} may do anything");
        assert_eq!(shipped, shown, "{name} in {file}");
    }
    Ok(())
}

#[test]
fn its_configurations_are_taken_and_name_every_field_and_default() -> Result<()> {
    let configurations: Vec<String> = blocks("jsonc")?
        .iter()
        .map(|block| block.lines().filter(|line| !line.trim_start().starts_with("//")).collect())
        .collect();
    let [node, rebalance, lb] = &configurations[..] else { anyhow::bail!("not three of them") };
    assert_eq!(NodeConfig::parse(node.as_bytes())?, NodeConfig::default());
    // What is shown is the default, but for the floor.
    let CloseRate::Rebalance(shown) = NodeConfig::parse(rebalance.as_bytes())?.close_rate else {
        anyhow::bail!("no rebalance in {rebalance}");
    };
    assert_eq!(shown, Rebalance { floor: shown.floor, ..Rebalance::default() });
    // What is shown is the default, but for the id.
    let shown = LbConfig::parse(lb.as_bytes())?;
    assert_eq!(shown, LbConfig { id: shown.id.clone(), ..LbConfig::default() });
    Ok(())
}

/// Each command of the README, and how it is run here.
#[tokio::test]
async fn its_commands_run() -> Result<()> {
    let aliases = std::fs::read_to_string(workspace().join(".cargo/config.toml"))?;
    for command in blocks("console")? {
        match command.as_str() {
            // Run by tests/e2e/commands, through the binary that the alias stands for.
            "cargo demo" => assert!(aliases.contains("demo = \"run"), "{aliases}"),
            // Run there in a short form, through that binary too.
            "cargo compare" => assert!(aliases.contains("compare = \"run"), "{aliases}"),
            // Run by tests/simulate.rs, likewise.
            "cargo simulate" => assert!(aliases.contains("simulate = \"run"), "{aliases}"),
            // Run there on the newest Envoy.
            "cargo matrix" => assert!(aliases.contains("matrix = \"run"), "{aliases}"),
            // Run there in a short form.
            "cargo soak" => assert!(aliases.contains("soak = \"run"), "{aliases}"),
            // Run by tests/release.rs, through that binary too.
            "cargo artifacts" => assert!(aliases.contains("artifacts = \"run"), "{aliases}"),
            // Part of `cargo test`; tests/compose sees to it that this is what containers mount.
            // The second is run by tests/compose before it starts a fleet.
            "cargo build --locked --bin spillway" | "export ENVOY_IMAGE=$(scripts/envoy-image)" => {
            }
            // Run by tests/compose on a fleet, with the compose tool that is there; it fails where it
            // has left out one of the README's.
            compose if compose.starts_with("docker compose ") => {}
            // This is it.
            "cargo test" => {}
            build if build.starts_with("cargo build") => {
                assert_eq!(build, format!("cargo {}", BUILD.join(" ")));
                let modules = filters()?.directory;
                assert!(modules.join("node_filter.wasm").exists());
            }
            curl if curl.starts_with("curl ") => {
                let fleet = Fleet::start(FleetSpec::default()).await?;
                for envoy in [&fleet.edges()[0].envoy, &fleet.nodes()[0].envoy] {
                    let admin = format!("http://{}", envoy.admin_address());
                    let mut run = Command::new("bash");
                    let output = run.args(["-c", curl]).env("ADMIN", admin).output().await?;
                    let text = String::from_utf8_lossy(&output.stdout);
                    assert!(output.status.success(), "{output:?}");
                    assert!(text.contains("wasmcustom.spillway."), "{text}");
                }
            }
            unknown => anyhow::bail!("no test runs the README's {unknown:?}"),
        }
    }
    Ok(())
}

/// Those that tests/e2e/observe compares with running Envoys.
#[test]
fn its_metrics_are_documented() -> Result<()> {
    let documented = std::fs::read_to_string(workspace().join("docs/metrics.md"))?;
    let readme = readme()?;
    let named = readme.split('`').filter(|code| code.starts_with("spillway_"));
    let metrics: Vec<_> = named.collect();
    assert!(metrics.len() >= 5, "{metrics:?}");
    for metric in metrics {
        assert!(
            documented.contains(&format!("| `{metric}` |")),
            "{metric} is not in docs/metrics.md"
        );
    }
    Ok(())
}

#[test]
fn what_it_links_to_is_there() -> Result<()> {
    for target in readme()?.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if !target.starts_with("http") {
            assert!(workspace().join(target).exists(), "there is no {target}");
        }
    }
    Ok(())
}
