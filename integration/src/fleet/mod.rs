//! A fleet of real Envoys: edges under one DNS name in front of nodes with an application each.
//!
//! Each edge has a loopback address of its own, all listen on one port, and a DNS server names
//! those that are in. Edges and nodes can join, leave and be killed while traffic runs.

mod config;
mod discovery;
mod spec;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::application::Application;
use crate::artifacts::{Filters, filters};
use crate::client::Resolver;
use crate::dns::DnsServer;
use crate::envoy::{Envoy, EnvoyBinary, EnvoyOptions, locate};
use crate::loopback::LoopbackBlock;
use crate::tls::{TestCertificates, TlsConfig};

pub use config::{Bootstrap, Endpoint, read_yaml};
pub use discovery::Discovery;
pub use spec::{EdgeConfig, FleetSpec, StartApplication, StartingApplication};

/// The public name of the edges.
pub const NAME: &str = "edge.spillway.test.";

/// Host numbers in the block: edges from 1, nodes from 101, then the harness's own.
const FIRST_EDGE: u8 = 1;
const FIRST_NODE: u8 = 101;
const DNS_HOST: u8 = 250;

/// A running fleet; all of it ends when it is dropped.
pub struct Fleet {
    spec: FleetSpec,
    binary: EnvoyBinary,
    filters: Filters,
    certificates: TestCertificates,
    edges: Vec<Edge>,
    nodes: Vec<Node>,
    dns: DnsServer,
    block: LoopbackBlock,
    /// Last, so that the files outlive those who write them.
    directory: Option<TempDir>,
}

/// An edge of the fleet.
#[derive(Debug)]
pub struct Edge {
    /// Its name, which is its load balancer id.
    pub name: String,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Its Envoy.
    pub envoy: Envoy,
    ip: Ipv4Addr,
}

/// A node of the fleet.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where edges reach it.
    pub address: SocketAddr,
    /// Its Envoy.
    pub envoy: Envoy,
    /// The application behind it.
    pub application: Application,
}

// === impl Fleet ===

impl Fleet {
    /// Starts what `spec` describes, and waits until all of it takes traffic.
    ///
    /// # Errors
    /// The filters do not build, there is no Envoy to be had, or one does not start.
    pub async fn start(spec: FleetSpec) -> Result<Self> {
        let filters = filters()?;
        let binary = spec.envoy.clone().map_or_else(locate, Ok)?;
        let block = LoopbackBlock::claim()?;
        let directory = TempDir::with_prefix("spillway-").context("no temporary folder")?;
        let first_edge = block.address(FIRST_EDGE).to_string();
        let names = [NAME.trim_end_matches('.'), &first_edge];
        let certificates = TestCertificates::new(&names, directory.path())?;
        let dns = DnsServer::start(block.address(DNS_HOST), NAME, Vec::new()).await?;
        let mut fleet = Self {
            binary,
            filters,
            certificates,
            edges: Vec::new(),
            nodes: Vec::new(),
            dns,
            block,
            directory: Some(directory),
            spec,
        };
        for _ in 0..fleet.spec.node_weights.len() {
            fleet.add_node().await?;
        }
        for _ in 0..fleet.spec.edges {
            fleet.add_edge().await?;
        }
        Ok(fleet)
    }

    /// The edges, in the order they joined.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What its Envoys have logged, one after the other.
    #[must_use]
    pub fn log_text(&self) -> String {
        let edges = self.edges.iter().map(|edge| &edge.envoy);
        let envoys = edges.chain(self.nodes.iter().map(|node| &node.envoy));
        let texts: Vec<_> = envoys
            .flat_map(|envoy| [envoy.name().to_owned(), ":\n".to_owned(), envoy.log_text()])
            .collect();
        texts.concat()
    }

    /// The public port of all edges.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.block.port()
    }

    /// The DNS server.
    #[must_use]
    pub fn dns(&self) -> &DnsServer {
        &self.dns
    }

    /// Resolves the public name as a client of the fleet does.
    ///
    /// # Errors
    /// The resolver does not take the server's address.
    pub fn resolver(&self) -> Result<Resolver> {
        Resolver::new(self.dns.address(), NAME)
    }

    /// What a client needs for TLS with the fleet's certificate.
    ///
    /// # Errors
    /// The certificate does not hold.
    pub fn tls(&self) -> Result<TlsConfig> {
        TlsConfig::new(&self.certificates, NAME.trim_end_matches('.'))
    }

    /// Whether its edges serve TLS.
    #[must_use]
    pub fn serves_tls(&self) -> bool {
        self.spec.tls || self.spec.http3
    }

    /// The address of the first edge, for clients that take no resolver of ours.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.serves_tls() { "https" } else { "http" };
        let address = self.block.public(FIRST_EDGE);
        format!("{scheme}://{address}")
    }

    /// The authority that signs the edges' certificates, as a PEM file.
    #[must_use]
    pub fn authority(&self) -> std::path::PathBuf {
        self.certificates.authority_path()
    }

    /// The version of Envoy that runs, such as `1.40.0`.
    #[must_use]
    pub fn envoy_version(&self) -> String {
        self.binary.version.to_string()
    }

    /// Starts one more edge, and enters it in DNS once it takes traffic.
    ///
    /// # Errors
    /// Its Envoy does not start.
    pub async fn add_edge(&mut self) -> Result<&Edge> {
        let number = u8::try_from(self.edges.len() + 1).context("too many edges")?;
        let name = format!("edge-{number}");
        let ip = self.block.address(number);
        let address = SocketAddr::from((ip, self.block.port()));
        let admin = SocketAddr::from((ip, self.block.free_port(ip)?));
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .zip(&self.spec.node_weights)
            .enumerate()
            .filter(|(index, _)| self.spec.nodes_of(self.edges.len()).contains(index))
            .map(|(_, (node, weight))| Endpoint { address: node.address, weight: *weight })
            .collect();
        ensure!(!nodes.is_empty(), "{name} would have no nodes");
        let discovery = self.spec.discovered.then(|| self.filters_of(&name)).transpose()?;
        let bootstrap = EdgeConfig {
            spec: &self.spec,
            name: &name,
            weight: self.spec.edge_weights.get(self.edges.len()).copied().unwrap_or(1.0),
            address,
            admin,
            nodes: &nodes,
            filters: &self.filters.directory,
            discovery: discovery.as_ref(),
            certificates: &self.certificates,
        }
        .bootstrap()?;
        let envoy = self.run(&name, &bootstrap.into_value(), self.spec.edge_workers).await?;
        self.edges.push(Edge { name, address, envoy, ip });
        let mut addresses = self.dns.addresses();
        addresses.push((ip, 1));
        self.dns.set_weighted_addresses(addresses);
        self.edges.last().context("no edge")
    }

    /// Has DNS name each edge first in as many answers as its weight has it, in the order they
    /// joined; those of weight 0, or of none, are out.
    pub fn set_dns_weights(&self, weights: &[u32]) {
        let addresses = self.edges.iter().map(Edge::ip).zip(weights.iter().copied());
        self.dns.set_weighted_addresses(addresses.collect());
    }

    /// Takes an edge out of DNS; it goes on serving those who are connected.
    pub fn withdraw_edge(&self, index: usize) {
        let gone = self.edges[index].ip();
        let mut left = self.dns.addresses();
        left.retain(|(address, _)| *address != gone);
        self.dns.set_weighted_addresses(left);
    }

    /// Takes an edge out of DNS and ends it at once.
    ///
    /// # Errors
    /// It cannot be ended.
    pub async fn kill_edge(&self, index: usize) -> Result<()> {
        self.withdraw_edge(index);
        self.edges[index].envoy.kill().await
    }

    /// Gives a node away, to be ended by the caller; edges still try it until it fails their
    /// health checks.
    ///
    /// # Panics
    /// There is no such node.
    pub fn remove_node(&mut self, index: usize) -> Node {
        self.nodes.remove(index)
    }

    /// The filters of the Envoy of this name, where they are discovered.
    ///
    /// # Errors
    /// Their folder cannot be made.
    pub fn filters_of(&self, name: &str) -> Result<Discovery> {
        let folder = self.directory().join(format!("{name}.xds"));
        Discovery::new(folder, self.filters.directory.clone())
    }

    async fn add_node(&mut self) -> Result<()> {
        let number = u8::try_from(self.nodes.len()).context("too many nodes")?;
        let name = format!("node-{}", number + 1);
        let ip = self.block.address(FIRST_NODE + number);
        let address = SocketAddr::from((ip, self.block.free_port(ip)?));
        let admin = SocketAddr::from((ip, self.block.free_port(ip)?));
        let application = self.spec.application.start(ip).await?;
        let discovered = self.spec.discovered;
        let file = if discovered { "xds/node.yaml" } else { "node.yaml" };
        let mut bootstrap = Bootstrap::shipped(file)?;
        bootstrap.listen(&name, address, admin)?;
        bootstrap.upstreams(&[Endpoint { address: application.address(), weight: 1 }])?;
        if self.spec.application_http2 {
            bootstrap.upstream_http2()?;
        }
        if discovered {
            self.filters_of(&name)?.serve(&mut bootstrap, "spillway.node", &self.spec.node)?;
        } else {
            bootstrap.spillway("spillway.node", &self.filters.directory, &self.spec.node)?;
        }
        if !self.spec.node_filter {
            bootstrap.without("spillway.node")?;
        }
        (self.spec.node_changes)(&mut bootstrap)?;
        let envoy = self.run(&name, &bootstrap.into_value(), self.spec.node_workers).await?;
        self.nodes.push(Node { name, address, envoy, application });
        Ok(())
    }

    async fn run(&self, name: &str, bootstrap: &serde_json::Value, workers: u32) -> Result<Envoy> {
        let options = EnvoyOptions {
            workers,
            environment: self.spec.environment,
            ..EnvoyOptions::new(&self.binary, name, bootstrap, self.directory())
        };
        Envoy::start(options).await
    }

    fn directory(&self) -> &Path {
        self.directory.as_ref().map_or(Path::new("."), TempDir::path)
    }
}

// === impl Edge ===

impl Edge {
    /// The address that DNS has for it.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }
}

impl Drop for Fleet {
    /// Where a test fails, what the Envoys said goes with its output, and their files stay.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let edges = self.edges.iter().map(|edge| &edge.envoy);
        let nodes = self.nodes.iter().map(|node| &node.envoy);
        for envoy in edges.chain(nodes) {
            let log = envoy.log_text();
            let last: Vec<_> = log.lines().rev().take(15).collect();
            eprintln!("--- the end of the log of {}", envoy.name());
            last.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        if let Some(directory) = self.directory.take() {
            eprintln!("--- configurations and logs are kept in {}", directory.keep().display());
        }
    }
}
