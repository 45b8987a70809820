//! `docs/metrics.md` has every metric that there is, and no other, with its type and label.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use integration::artifacts::workspace;
use integration::envoy::Envoy;
use integration::fleet::{Bootstrap, Fleet, FleetSpec, read_yaml};

use crate::support::{Http, curl, eventually};

/// By name: the type, and the names of labels.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

fn text() -> Result<String> {
    std::fs::read_to_string(workspace().join("docs/metrics.md")).context("no docs/metrics.md")
}

fn documented() -> Result<Metrics> {
    let text = text()?;
    let rows = text.lines().filter(|line| line.starts_with("| `spillway_"));
    let metric = |row: &str| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, name, kind, unit, labels, meaning, _] = cells[..] else { return None };
        assert!(!unit.is_empty() && !meaning.is_empty(), "{row}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        Some((name.trim_matches('`').to_owned(), (kind.to_owned(), labels)))
    };
    rows.map(|row| metric(row).with_context(|| format!("not five cells: {row}"))).collect()
}

/// What Prometheus would read of the filters.
async fn shown(envoy: &Envoy) -> Result<Metrics> {
    let mut metrics = Metrics::new();
    for line in envoy.prometheus().await?.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE spillway_") {
            let (name, kind) = declared.split_once(' ').context("no type")?;
            metrics.insert(format!("spillway_{name}"), (kind.to_owned(), BTreeSet::new()));
        } else if line.starts_with("spillway_") {
            let (name, labels) = line.split_once('{').context("no labels")?;
            let (labels, _) = labels.rsplit_once('}').context("no end of labels")?;
            let labels = labels.split(',').filter_map(|label| label.split_once('='));
            let (_, known) = metrics.get_mut(name).with_context(|| format!("no type: {name}"))?;
            known.extend(labels.map(|(label, _)| label.to_owned()));
        }
    }
    Ok(metrics)
}

/// The values that the table has for a label.
fn values_of(label: &str) -> Result<BTreeSet<String>> {
    let text = text()?;
    let row = text
        .lines()
        .find(|line| line.contains(&format!("| `{label}` |")))
        .context(label.to_owned())?;
    let meaning = row.rsplit_once(&format!("| `{label}` |")).context("no meaning")?.1;
    let parts = meaning.split("; ").filter_map(|part| part.trim().strip_prefix('`'));
    Ok(parts.filter_map(|part| Some(part.split_once("`: ")?.0.to_owned())).collect())
}

async fn fleet(spec: FleetSpec) -> Result<Fleet> {
    let fleet = Fleet::start(spec).await?;
    curl(&fleet, false, Http::One, &[], &["/"; 3]).await?;
    Ok(fleet)
}

#[tokio::test]
async fn the_table_is_what_running_envoys_show() -> Result<()> {
    let fleet = fleet(FleetSpec::default()).await?;
    let documented = documented()?;
    eventually("the node has metrics of its load balancer", || async {
        Ok(shown(&fleet.nodes()[0].envoy).await?.contains_key("spillway_node_futile"))
    })
    .await;
    let mut found = shown(&fleet.edges()[0].envoy).await?;
    assert!(found.keys().all(|name| name.starts_with("spillway_lb_")), "{found:?}");
    found.extend(shown(&fleet.nodes()[0].envoy).await?);
    assert_eq!(documented, found);
    Ok(())
}

#[tokio::test]
async fn names_and_labels_in_envoys_own_stats_are_as_the_text_says() -> Result<()> {
    let fleet = fleet(FleetSpec::default()).await?;
    let envoys = [&fleet.edges()[0].envoy, &fleet.nodes()[0].envoy];
    eventually("the node has metrics of its load balancer", || async {
        Ok(envoys[1].stats().await?.sum_prefix("wasmcustom.spillway.node.load_balancer_requests.")
            > 0)
    })
    .await;
    let documented = documented()?;
    let mut values = BTreeMap::<String, BTreeSet<String>>::new();
    for envoy in envoys {
        for (name, _) in envoy.stats().await?.iter() {
            let Some(name) = name.strip_prefix("wasmcustom.spillway.") else { continue };
            let parts: Vec<_> = name.splitn(3, '.').collect();
            let (_, labels) = documented
                .get(&format!("spillway_{}_{}", parts[0], parts[1]))
                .with_context(|| format!("{name} is not documented"))?;
            ensure!(labels.len() == parts.len() - 2, "{name} has other labels");
            for label in labels {
                values.entry(label.clone()).or_default().insert(parts[2].to_owned());
            }
        }
    }
    assert_eq!(values["reason"], values_of("reason")?);
    assert_eq!(values["way"], values_of("way")?);
    assert_eq!(values["load_balancer"], BTreeSet::from(["edge-1".to_owned()]));
    Ok(())
}

#[tokio::test]
async fn an_id_with_dots_and_blanks_is_a_label_as_a_whole() -> Result<()> {
    const ID: &str = "edge 1.example.com";
    let http = serde_json::json!({ "id": ID });
    let fleet = fleet(FleetSpec { http, ..FleetSpec::default() }).await?;
    let expected = format!("spillway_node_load_balancer_requests{{load_balancer=\"{ID}\"}} 3");
    eventually("the node has metrics of its load balancer", || async {
        Ok(fleet.nodes()[0].envoy.prometheus().await?.contains(&expected))
    })
    .await;
    Ok(())
}

#[test]
fn the_rules_for_labels_are_those_of_all_shipped_configurations() -> Result<()> {
    let text = text()?;
    let block = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let shown: serde_json::Value = serde_yaml_ng::from_str(block.context("no block")?)?;
    for file in ["edge", "edge-native-drain", "edge-http3", "node"] {
        let mut shipped = Bootstrap::shipped(&format!("{file}.yaml"))?;
        assert_eq!(shipped.at("/stats_config")?, &shown["stats_config"], "{file}");
    }
    let compose = read_yaml(&workspace().join("envoy-configs/compose/edge.yaml"))?;
    assert_eq!(compose["stats_config"], shown["stats_config"]);
    Ok(())
}
