//! The documents to deploy by are true: their commands run, their configurations are taken and are
//! those that are shipped, the metrics that they name are there, and so is what they link to.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::{Context, Result};
use integration::artifacts::workspace;
use integration::envoy::locate;
use integration::fleet::{Fleet, FleetSpec, read_yaml};
use integration::loopback::LoopbackBlock;
use redistribution::config::NodeConfig;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

const DOCUMENTS: [&str; 2] = ["plain-envoy.md", "operating.md"];

/// The addresses of the document, of which a test has others for itself.
const ADDRESSES: &str = "127.0.1.";

/// Far longer than it takes.
const SCRIPT_BOUND: Duration = Duration::from_mins(3);

fn document(name: &str) -> Result<String> {
    fs::read_to_string(workspace().join("docs").join(name)).with_context(|| format!("no {name}"))
}

/// The blocks of a document that are marked as `language`, without the indentation of their list.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start() == format!("```{language}") {
            let indent = line.len() - line.trim_start().len();
            let block = lines.by_ref().take_while(|line| line.trim_start() != "```");
            let block: Vec<_> = block.map(|line| line.get(indent..).unwrap_or_default()).collect();
            found.push(block.join("\n"));
        }
    }
    found
}

#[tokio::test]
async fn what_is_tried_on_one_machine_works_as_it_is_written() -> Result<()> {
    let text = document("plain-envoy.md")?;
    let commands = blocks(&text, "console");
    assert_eq!(commands.len(), 9, "a step has no command, or one is new");
    let aliases = fs::read_to_string(workspace().join(".cargo/config.toml"))?;
    assert!(aliases.contains("artifacts = \"run") && aliases.contains("-- artifacts\""));

    // The top folder of the project, without what others may do in it.
    let folder = TempDir::with_prefix("spillway-docs-")?;
    for name in ["envoy-configs", "docs", "target"] {
        symlink(workspace().join(name), folder.path().join(name))?;
    }
    let block = LoopbackBlock::claim()?;
    let own = block.address(1).to_string();
    let own = own.strip_suffix('1').context("no address")?;
    let script = commands.join("\n").replace(ADDRESSES, own);
    // `cargo` would wait for the one that runs this; the alias stands for this program.
    let prelude = "set -euo pipefail; cargo() { \"$SPILLWAY\" \"$@\"; }\n";
    let envoy = locate()?.path;
    let search = std::env::var("PATH")?;
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after", "5", "150", "bash", "-c"])
        .arg(format!("{prelude}{script}"))
        .env("SPILLWAY", env!("CARGO_BIN_EXE_spillway"))
        .env("CARGO_TARGET_DIR", folder.path().join("target"))
        .env("PATH", format!("{}:{search}", envoy.parent().context("no folder")?.display()))
        .current_dir(folder.path())
        .kill_on_drop(true);
    let output = timeout(SCRIPT_BOUND, bash.output()).await.context("it does not end")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);

    assert_eq!(said.lines().filter(|line| *line == "LIVE").count(), 3, "{said}");
    let shown = blocks(&text, "text");
    let [stamped, closed, refused] = &shown[..] else { anyhow::bail!("not three of them") };
    for line in stamped.lines().chain(refused.lines()) {
        assert!(said.lines().any(|has| has == line), "no {line:?} in\n{said}");
    }
    // How often each happens differs from run to run; that it does must not.
    let value = |text: &str, end: &str| -> Result<u64> {
        let line = text.lines().find(|line| line.contains(end)).context(end.to_owned())?;
        Ok(line.rsplit(' ').next().context("nothing")?.parse()?)
    };
    let counted = |text: &str, reopened: &str| -> Result<u64> {
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let count = lines.find_map(|words| match words[..] {
            [count, what] if what == reopened => count.parse().ok(),
            _ => None,
        });
        count.context("no count")
    };
    for text in [&said, closed.as_str()] {
        let reopened = counted(text, "1")?;
        assert_eq!(counted(text, "0")? + reopened, 400, "{text}");
        assert!(reopened > 5, "{text}");
        // The first connection was opened without a close, and the last close may come with the
        // last response.
        let told = value(text, "closes_announced.http1: ")?;
        assert!(told.abs_diff(reopened - 1) <= 1, "{text}");
        assert!(value(text, "closes_admitted: ")? >= told, "{text}");
    }
    Ok(())
}

#[test]
fn their_yaml_is_that_of_the_shipped_configurations() -> Result<()> {
    let mut looked_at = 0;
    for name in DOCUMENTS {
        for block in blocks(&document(name)?, "yaml") {
            let file = block.lines().next().and_then(|line| line.strip_prefix("# from "));
            let file = file.context("a block does not say which file it is from")?;
            let shown: Value = serde_yaml_ng::from_str(&block)?;
            let shipped = read_yaml(&workspace().join("envoy-configs").join(file))?;
            for filter in shown.as_array().context("no list of filters")? {
                assert!(holds(&shipped, filter), "not in {file}: {filter}");
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 0);
    Ok(())
}

fn holds(value: &Value, wanted: &Value) -> bool {
    value == wanted
        || match value {
            Value::Object(fields) => fields.values().any(|field| holds(field, wanted)),
            Value::Array(items) => items.iter().any(|item| holds(item, wanted)),
            _ => false,
        }
}

#[tokio::test]
async fn operating_has_configurations_and_commands_that_work() -> Result<()> {
    let text = document("operating.md")?;
    for json in blocks(&text, "json") {
        NodeConfig::parse(json.as_bytes()).with_context(|| json.clone())?;
    }
    assert_eq!(blocks(&text, "json").len(), 2);
    let fleet = Fleet::start(FleetSpec::default()).await?;
    for command in blocks(&text, "console") {
        if command == "cargo artifacts" {
            // Run by tests/release.rs, and above.
            continue;
        }
        assert!(command.starts_with("curl "), "no test runs {command:?}");
        for envoy in [&fleet.edges()[0].envoy, &fleet.nodes()[0].envoy] {
            let admin = format!("http://{}", envoy.admin_address());
            let mut bash = Command::new("bash");
            let output = bash.args(["-c", &command]).env("ADMIN", admin).output().await?;
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains(".requests_stamped: "), "{output:?}");
        }
    }
    Ok(())
}

/// The name in Envoy's stats of a metric as Prometheus gets it: `spillway_lb_x{reason="y"}` is
/// `spillway.lb.x.y`, or has only `x` where its label is not told.
fn in_envoy(metric: &str) -> String {
    let (name, label) = metric.split_once('{').unwrap_or((metric, ""));
    let name = name.replacen("spillway_lb_", "spillway.lb.", 1);
    let name = name.replacen("spillway_node_", "spillway.node.", 1);
    match label.split('"').nth(1) {
        Some(value) => format!("wasmcustom.{name}.{value}"),
        None => format!("wasmcustom.{name}"),
    }
}

#[tokio::test]
async fn they_name_metrics_that_there_are() -> Result<()> {
    let mut named = BTreeSet::new();
    for name in DOCUMENTS {
        let text = document(name)?;
        let quoted = text.split('`').skip(1).step_by(2).map(ToOwned::to_owned);
        named.extend(quoted.filter(|word| word.starts_with("spillway_") && !word.contains('.')));
    }
    assert!(named.len() > 10, "{named:?}");
    let fleet = Fleet::start(FleetSpec::default()).await?;
    let mut shown = BTreeSet::new();
    for envoy in [&fleet.edges()[0].envoy, &fleet.nodes()[0].envoy] {
        shown.extend(envoy.stats().await?.iter().map(|(name, _)| name.to_owned()));
    }
    for metric in named {
        let name = in_envoy(&metric);
        let there =
            shown.iter().any(|shown| *shown == name || shown.starts_with(&format!("{name}.")));
        assert!(there, "there is no {metric} ({name})");
    }
    Ok(())
}

/// Each row of SECURITY.md ends with files and tests in them: `[file](path)` and their names after it.
#[test]
fn security_names_tests_that_there_are() -> Result<()> {
    let text = fs::read_to_string(workspace().join("SECURITY.md"))?;
    let mut tests = 0;
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    for row in rows {
        let shown = row.trim_end_matches([' ', '|']).rsplit('|').next().context("no cell")?;
        assert!(shown.contains("]("), "nothing shows this: {row}");
        for named in shown.split("](").skip(1) {
            let (path, rest) = named.split_once(')').context("no link")?;
            let file = workspace().join(path);
            let code = fs::read_to_string(&file).with_context(|| path.to_owned())?;
            let names: Vec<_> = rest.split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty(), "no test of {path} is named");
            for name in names {
                assert!(code.contains(&format!("fn {name}(")), "{path} has no test {name}");
                tests += 1;
            }
        }
    }
    assert!(tests > 10, "only {tests}");
    for path in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(workspace().join(path).exists(), "SECURITY.md links to {path}, which is not there");
    }
    Ok(())
}

#[test]
fn what_documents_link_to_is_there() -> Result<()> {
    for entry in fs::read_dir(workspace().join("docs"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if !target.starts_with("http") && !file.is_empty() {
                let there = workspace().join("docs").join(file).exists();
                assert!(there, "{} links to {target}, which is not there", path.display());
            }
        }
    }
    Ok(())
}
