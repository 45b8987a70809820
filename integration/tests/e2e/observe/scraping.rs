//! A real Prometheus scrapes real Envoys with the shipped configuration while a third edge joins two:
//! every query of the dashboard, and of the alerts, gives data, and what it should.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use integration::artifacts::workspace;
use integration::client::Pace;
use integration::fleet::{Fleet, read_yaml};
use integration::loopback::LoopbackBlock;
use integration::process::ChildProcess;
use integration::tools::Prometheus;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::dashboard::queries;
use crate::support::{
    SETTLE_TIME, eventually, eventually_within, mixed_clients, rebalancing, some_of_a_core,
};

/// Rates are over so long; the dashboard's are over four times the interval of scraping.
const INTERVAL: &str = "10s";

/// A Prometheus that scrapes a fleet.
struct Scraper {
    server: ChildProcess,
    address: SocketAddr,
    configuration: PathBuf,
    /// Last: the server writes into it.
    _directory: TempDir,
}

impl Scraper {
    /// Starts one, on an address of `block`.
    fn start(fleet: &Fleet, block: &LoopbackBlock) -> Result<Self> {
        let directory = TempDir::with_prefix("spillway-prometheus-")?;
        let configuration = directory.path().join("prometheus.yaml");
        let rules = workspace().join("envoy-configs/prometheus/alerts.yaml");
        std::fs::copy(rules, directory.path().join("alerts.yaml"))?;
        let ip = block.address(1);
        let address = SocketAddr::from((ip, block.free_port(ip)?));
        write_configuration(fleet, &configuration)?;
        let mut command = Command::new(Prometheus::locate()?.server);
        command.arg("--config.file").arg(&configuration);
        command.arg("--storage.tsdb.path").arg(directory.path().join("data"));
        command.arg("--web.listen-address").arg(address.to_string());
        let server = ChildProcess::spawn(command, "prometheus", directory.path())?;
        Ok(Self { server, address, configuration, _directory: directory })
    }

    /// Has it scrape the edges and nodes that there are now.
    fn scrape_all(&self, fleet: &Fleet) -> Result<()> {
        write_configuration(fleet, &self.configuration)?;
        self.server.hang_up()
    }

    /// What its API answers, by curl.
    async fn ask(&self, path: &str, arguments: &[&str]) -> Result<Value> {
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10"]).args(arguments);
        let output = curl.arg(format!("http://{}/api/v1/{path}", self.address)).output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{path}: {errors}");
        let mut answer: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(answer["status"] == "success", "{path} {arguments:?}: {answer}");
        Ok(answer["data"].take())
    }

    /// The samples that a query gives now.
    async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let query = format!("query={expression}");
        let data = self.ask("query", &["--get", "--data-urlencode", &query]).await?;
        data["result"].as_array().cloned().with_context(|| format!("{expression}: {data}"))
    }

    /// The value of a query that gives one.
    async fn value(&self, expression: &str) -> Result<f64> {
        let samples = self.query(expression).await?;
        let [sample] = &samples[..] else { anyhow::bail!("{expression}: {samples:?}") };
        sample["value"][1].as_str().context("no value")?.parse().context("no number")
    }
}

/// The shipped configuration, with the fleet's addresses, and quicker.
fn write_configuration(fleet: &Fleet, path: &std::path::Path) -> Result<()> {
    let mut configuration =
        read_yaml(&workspace().join("envoy-configs/prometheus/prometheus.yaml"))?;
    configuration["global"] = json!({ "scrape_interval": "1s", "evaluation_interval": "1s" });
    let edges = fleet.edges().iter().map(|edge| (&edge.name, &edge.envoy));
    let nodes = fleet.nodes().iter().map(|node| (&node.name, &node.envoy));
    for (job, envoys) in [edges.collect::<Vec<_>>(), nodes.collect()].iter().enumerate() {
        let place = &mut configuration["scrape_configs"][job]["static_configs"][0]["targets"];
        let names = place.as_array().context("no targets")?.clone();
        let mut relabel = Vec::new();
        for (name, envoy) in envoys {
            // The names that the shipped configuration has for them.
            ensure!(names.contains(&json!(format!("{name}:9901"))), "{name} is not in {names:?}");
            relabel.push(json!({
                "source_labels": ["__address__"],
                "regex": envoy.admin_address().to_string(),
                "target_label": "instance",
                "replacement": name,
            }));
        }
        *place = envoys.iter().map(|(_, envoy)| json!(envoy.admin_address().to_string())).collect();
        let rules = &mut configuration["scrape_configs"][job]["relabel_configs"];
        rules.as_array_mut().context("no relabelling")?.extend(relabel);
    }
    // JSON is YAML. A reload must not read half of it.
    let aside = path.with_extension("new");
    std::fs::write(&aside, serde_json::to_vec_pretty(&configuration)?)?;
    std::fs::rename(aside, path).context("cannot put the configuration in place")
}

/// The metrics of ours that the alerts look at.
fn metrics_of_alerts() -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(workspace().join("envoy-configs/prometheus/alerts.yaml"))?;
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    Ok(words.filter(|word| word.starts_with("spillway_")).map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_shows_how_a_third_edge_gets_its_part() -> Result<()> {
    let _core = some_of_a_core().await;
    let mut fleet = Fleet::start(rebalancing(2)).await?;
    let block = LoopbackBlock::claim()?;
    let prometheus = Scraper::start(&fleet, &block)?;
    let _clients = mixed_clients(&fleet, 120, 2, Pace::PerSecond(5.0))?;
    let load = format!("sum by (instance) (rate(spillway_lb_requests[{INTERVAL}]))");
    eventually("it has scraped both for a while", || async {
        Ok(prometheus.value(&format!("min({load})")).await? > 200.0)
    })
    .await;

    fleet.add_edge().await?;
    prometheus.scrape_all(&fleet)?;
    let deviation = "max(spillway_node_worst_deviation_permille)";
    eventually("it shows that the third one has nothing", || async {
        Ok(prometheus.value(deviation).await? > 900.0)
    })
    .await;
    eventually("it shows closes wanted", || async {
        Ok(prometheus.value("sum(spillway_node_close_rate_millis)").await? > 1000.0)
    })
    .await;
    let of_third = format!("rate(spillway_lb_requests{{instance=\"edge-3\"}}[{INTERVAL}])");
    let third = format!("sum({of_third}) / avg({load})");
    eventually_within(3 * SETTLE_TIME, "it shows that the third one has its part", || async {
        Ok(prometheus.value(&third).await? > 0.8 && prometheus.value(deviation).await? < 300.0)
    })
    .await;
    let told = prometheus.value("sum(spillway_lb_closes_announced)").await?;
    let done = prometheus.value("sum(spillway_lb_connections_opened)").await?;
    assert!(told > 30.0, "{told} closes announced");
    assert!((120.0..=121.0 + told).contains(&done), "{done} connections, {told} closes");

    for query in queries(INTERVAL)? {
        let samples = prometheus.query(&query.expression).await?;
        assert!(!samples.is_empty(), "{}: {} gives nothing", query.panel, query.expression);
    }
    for metric in metrics_of_alerts()? {
        assert!(!prometheus.query(&metric).await?.is_empty(), "{metric} is not there");
    }
    let firing = prometheus.query("ALERTS{alertstate=\"firing\"}").await?;
    assert!(firing.is_empty(), "{firing:#?}");
    let rules = prometheus.ask("rules", &[]).await?;
    let rules = rules["groups"][0]["rules"].as_array().context("no rules")?;
    assert!(rules.len() >= 8 && rules.iter().all(|rule| rule["health"] == "ok"), "{rules:#?}");
    Ok(())
}
