//! The dashboard, as a file: what its queries give is tried in `scraping`.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use integration::artifacts::workspace;
use integration::fleet::read_yaml;
use serde_json::Value;

/// A query of the dashboard, with the panel that shows it.
pub struct Query {
    pub panel: String,
    pub expression: String,
}

fn grafana() -> std::path::PathBuf {
    workspace().join("envoy-configs/grafana")
}

fn dashboard() -> Result<Value> {
    let text = std::fs::read_to_string(grafana().join("dashboards/spillway.json"))?;
    Ok(serde_json::from_str(&text)?)
}

fn panels(dashboard: &Value) -> Result<&Vec<Value>> {
    dashboard["panels"].as_array().context("no panels")
}

/// All queries, with `interval` for Grafana's own.
pub fn queries(interval: &str) -> Result<Vec<Query>> {
    let dashboard = dashboard()?;
    let mut queries = Vec::new();
    for panel in panels(&dashboard)? {
        for target in panel["targets"].as_array().context("no targets")? {
            let expression = target["expr"].as_str().context("no query")?;
            queries.push(Query {
                panel: panel["title"].as_str().context("no title")?.to_owned(),
                expression: expression.replace("$__rate_interval", interval),
            });
        }
    }
    Ok(queries)
}

#[test]
fn its_panels_have_ids_places_and_a_data_source_of_their_own() -> Result<()> {
    let dashboard = dashboard()?;
    let (mut ids, mut squares) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels(&dashboard)? {
        assert!(ids.insert(panel["id"].as_u64().context("no id")?), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        let side = |name: &str| panel["gridPos"][name].as_u64().context("no place");
        assert!(side("x")? + side("w")? <= 24, "{panel}");
        for x in side("x")?..side("x")? + side("w")? {
            for y in side("y")?..side("y")? + side("h")? {
                assert!(squares.insert((x, y)), "{panel} lies over another one");
            }
        }
    }
    assert_eq!(dashboard["templating"]["list"][0]["name"], "datasource");
    Ok(())
}

#[test]
fn grafana_is_told_of_the_data_source_and_of_the_dashboards() -> Result<()> {
    let sources = read_yaml(&grafana().join("provisioning/datasources/prometheus.yaml"))?;
    let source = &sources["datasources"][0];
    assert_eq!((&source["type"], &source["access"]), (&"prometheus".into(), &"proxy".into()));
    let variable = &dashboard()?["templating"]["list"][0];
    assert_eq!(variable["current"]["value"], source["uid"]);
    assert_eq!(variable["query"], source["type"]);
    let scraped = read_yaml(&workspace().join("envoy-configs/prometheus/prometheus.yaml"))?;
    assert_eq!(scraped["global"]["scrape_interval"], source["jsonData"]["timeInterval"]);
    let dashboards = read_yaml(&grafana().join("provisioning/dashboards/spillway.yaml"))?;
    let options = &dashboards["providers"][0]["options"];
    assert_eq!(options["path"], "/var/lib/grafana/dashboards");
    Ok(())
}
