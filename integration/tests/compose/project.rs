//! A project of compose that goes away with the test, however that ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use integration::artifacts::{filters, workspace};
use integration::envoy::Admin;
use integration::fleet::Bootstrap;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tools::{Tools, ended, image, run};

/// Names of projects: this, and the process that they belong to.
const PREFIX: &str = "spillway-test-";
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// The project; its containers and networks are removed when it is dropped.
pub struct Project {
    name: String,
    compose: &'static [&'static str],
    image: String,
    /// The test's own compose file, and what it mounts.
    directory: TempDir,
    /// What was asked of compose so far.
    called: Mutex<BTreeSet<String>>,
    /// The containers that were asked for so far, by service: they stay.
    containers: Mutex<BTreeMap<String, String>>,
}

// === impl Project ===

impl Project {
    /// Builds what is mounted; starts nothing yet. `node` is laid over the configuration of the
    /// nodes' filters, `clients` added to the command of the clients: what is shipped is slower
    /// than a test likes. All else is as shipped.
    pub fn new(tools: &Tools, node: &Value, clients: &str) -> Result<Self> {
        remove_what_killed_tests_left()?;
        filters()?;
        clients_are_where_they_are_mounted_from()?;
        let directory = TempDir::with_prefix("spillway-compose-").context("no temporary folder")?;
        let mut bootstrap = Bootstrap::shipped("compose/node.yaml")?;
        bootstrap.spillway("spillway.node", Path::new("/etc/spillway"), node)?;
        let mounted = directory.path().join("node.json");
        std::fs::write(&mounted, bootstrap.into_value().to_string())?;
        // JSON is YAML; the name says which of them Envoy is to read.
        let mount = format!("{}:/etc/envoy/node.yaml:ro", mounted.display());
        let mut services =
            json!({ "clients": { "command": format!("load edge.spillway {clients}") } });
        for number in 1..=4 {
            services[format!("node-{number}")] = json!({ "volumes": [mount] });
        }
        let overlay = json!({ "services": services });
        std::fs::write(directory.path().join("overlay.yaml"), overlay.to_string())?;
        Ok(Self {
            name: format!("{PREFIX}{}", std::process::id()),
            compose: tools.compose.first().context("no compose")?,
            image: image()?,
            directory,
            called: Mutex::default(),
            containers: Mutex::default(),
        })
    }

    /// Runs compose for this project, and gives back what it says.
    pub fn compose(&self, arguments: &[&str]) -> Result<String> {
        lock(&self.called).insert(arguments.join(" "));
        let (program, first) = self.compose.split_first().context("no compose")?;
        let mut command = Command::new(program);
        command
            .args(first)
            .args(["--project-name", &self.name, "--file", "docker-compose.yml", "--file"])
            .arg(self.directory.path().join("overlay.yaml"))
            .args(arguments)
            .current_dir(workspace())
            .env("ENVOY_IMAGE", &self.image);
        ended(&mut command)
    }

    /// What compose was asked so far, as the README would write it.
    pub fn commands(&self) -> BTreeSet<String> {
        lock(&self.called).iter().map(|arguments| format!("docker compose {arguments}")).collect()
    }

    /// What there is of it: its containers, and its networks.
    pub fn what_there_is(&self) -> Result<String> {
        let label = format!("label={PROJECT}={}", self.name);
        let list =
            |of: &[&str]| run(["docker"].iter().chain(of).chain(&["--quiet", "--filter", &label]));
        Ok(list(&["ps", "--all"])? + &list(&["network", "ls"])?)
    }

    /// The container of a service.
    pub fn container(&self, service: &str) -> Result<String> {
        if let Some(known) = lock(&self.containers).get(service) {
            return Ok(known.clone());
        }
        let project = format!("label={PROJECT}={}", self.name);
        let of_service = format!("label={SERVICE}={service}");
        let filters = ["--filter", &project, "--filter", &of_service];
        let found = run(["docker", "ps", "--all", "--quiet"].into_iter().chain(filters))?;
        let found = found.lines().next().map(str::to_owned);
        let found = found.with_context(|| format!("there is no container of {service}"))?;
        lock(&self.containers).insert(service.to_owned(), found.clone());
        Ok(found)
    }

    /// What Docker knows of the container of a service.
    pub fn inspect(&self, service: &str) -> Result<Value> {
        let text = run(["docker", "inspect", &self.container(service)?])?;
        let mut all: Value = serde_json::from_str(&text).context("no JSON")?;
        Ok(all[0].take())
    }

    /// Its address in a network of the project, where it has one.
    pub fn address(&self, service: &str, network: &str) -> Result<Option<Ipv4Addr>> {
        let container = self.inspect(service)?;
        let network = self.network(network);
        let address = &container["NetworkSettings"]["Networks"][network]["IPAddress"];
        Ok(address.as_str().and_then(|address| address.parse().ok()))
    }

    /// Docker's name of a network of the project.
    pub fn network(&self, name: &str) -> String {
        format!("{}_{name}", self.name)
    }

    /// The admin interface of an Envoy, which has another port after each start.
    pub fn admin(&self, service: &str) -> Result<Admin> {
        let text = run(["docker", "port", &self.container(service)?, "9901/tcp"])?;
        let address: Option<SocketAddr> = text.lines().next().and_then(|line| line.parse().ok());
        Ok(Admin::at(address.with_context(|| format!("{service} has no port: {text:?}"))?))
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ =
                self.compose(&["logs", "--no-color", "--tail", "15"]).map(|log| eprintln!("{log}"));
        }
        if let Err(error) = self.compose(&["down", "--volumes", "--timeout", "1"]) {
            eprintln!("{} stays: {error:#}", self.name);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `cargo test` has built the program, and has put it where the README's `cargo build` puts it. That
/// is not run again: without the tests' own dependencies it compiles half of all others anew, since
/// they share features.
fn clients_are_where_they_are_mounted_from() -> Result<()> {
    let built = Path::new(env!("CARGO_BIN_EXE_spillway"));
    let mounted = workspace().join("target/debug/spillway");
    ensure!(built == mounted, "{} is not {}", built.display(), mounted.display());
    Ok(())
}

/// A test that was killed could not clean up: the next one does.
fn remove_what_killed_tests_left() -> Result<()> {
    for (list, remove) in [
        (["docker", "ps", "--all"].as_slice(), ["docker", "rm", "--force"]),
        (&["docker", "network", "ls"], ["docker", "network", "rm"]),
    ] {
        let format = format!("{{{{.ID}}}} {{{{.Label \"{PROJECT}\"}}}}");
        let listed = run(list.iter().copied().chain(["--format", &format]))?;
        for line in listed.lines() {
            let owner = line.split_once(&format!(" {PREFIX}"));
            if let Some((id, process)) = owner
                && !Path::new("/proc").join(process).exists()
            {
                run(remove.into_iter().chain([id]))?;
            }
        }
    }
    Ok(())
}
