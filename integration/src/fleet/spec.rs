//! What a fleet is to be like.

use std::fmt;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;

use anyhow::Result;
use serde_json::{Value, json};

use super::config::{Bootstrap, Endpoint};
use super::discovery::Discovery;
use crate::application::Application;
use crate::envoy::EnvoyBinary;
use crate::tls::TestCertificates;

/// What a fleet is to be like; [`FleetSpec::default`] is the shipped configuration with one edge,
/// one node, one worker each.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools)] // Independent switches, each named where it is set.
pub struct FleetSpec {
    /// Edges at the start.
    pub edges: usize,
    /// The capacity of each edge relative to the others; 1 where there is none for it.
    pub edge_weights: Vec<f64>,
    /// One node for each weight.
    pub node_weights: Vec<u32>,
    /// Nodes of each edge's own: the first edge has the first so many, and so on. Where `None`, all
    /// edges have all nodes.
    pub nodes_per_edge: Option<usize>,
    /// Worker threads of each edge.
    pub edge_workers: u32,
    /// Worker threads of each node's Envoy.
    pub node_workers: u32,
    /// Whether edges use `edge-native-drain.yaml` rather than `edge.yaml`.
    pub native_drain: bool,
    /// Whether edges serve TLS.
    pub tls: bool,
    /// Whether edges use `edge-http3.yaml`: HTTP/3, and TLS, with native drain.
    pub http3: bool,
    /// Whether the filters come by ECDS (`xds/edge.yaml`, `xds/node.yaml`), and can be changed while
    /// the fleet runs: [`Fleet::filters_of`](super::Fleet::filters_of).
    pub discovered: bool,
    /// Whether requests go from edge to node over HTTP/2.
    pub upstream_http2: bool,
    /// Whether requests go from node to application over HTTP/2.
    pub application_http2: bool,
    /// The Envoy that all of them are; where `None`, the one that is found.
    pub envoy: Option<EnvoyBinary>,
    /// Whether the Spillway filters are in the edges' chains.
    pub edge_filters: bool,
    /// Whether the Spillway filter is in the nodes' chains. Without it an application can play
    /// a node that does as it pleases.
    pub node_filter: bool,
    /// Laid over the HTTP connection manager of the edges, field by field.
    pub edge_manager: Value,
    /// The code of a Lua filter that edges have in front of all their other HTTP filters.
    pub edge_lua: Option<String>,
    /// Changes the configuration of the edges in whatever way the other fields do not offer.
    pub edge_changes: fn(&mut Bootstrap) -> Result<()>,
    /// What the Envoys have in their environment besides the harness's own.
    pub environment: &'static [(&'static str, &'static str)],
    /// Changes the configuration of the nodes.
    pub node_changes: fn(&mut Bootstrap) -> Result<()>,
    /// Laid over the configuration of the HTTP role.
    pub http: Value,
    /// Laid over the configuration of the connection role.
    pub connection: Value,
    /// Laid over the configuration of the node's filter.
    pub node: Value,
    /// How often edges check their nodes, and so announce themselves.
    pub health_check_interval: String,
    /// What stands behind the nodes.
    pub application: StartApplication,
}

/// How the application of a node is started.
#[derive(Clone, Copy)]
pub struct StartApplication(pub fn(Ipv4Addr) -> StartingApplication);

/// An application that will have started.
pub type StartingApplication = Pin<Box<dyn Future<Output = Result<Application>> + Send>>;

/// All that the configuration of an edge is made of.
#[derive(Debug)]
pub struct EdgeConfig<'a> {
    /// What the fleet is like.
    pub spec: &'a FleetSpec,
    /// The edge's name.
    pub name: &'a str,
    /// Its capacity relative to the others.
    pub weight: f64,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Where its operator does.
    pub admin: SocketAddr,
    /// Its nodes.
    pub nodes: &'a [Endpoint],
    /// Folder of the filters.
    pub filters: &'a Path,
    /// Where they come from if they are discovered.
    pub discovery: Option<&'a Discovery>,
    /// For TLS.
    pub certificates: &'a TestCertificates,
}

// === impl FleetSpec ===

impl Default for FleetSpec {
    fn default() -> Self {
        Self {
            edges: 1,
            edge_weights: Vec::new(),
            node_weights: vec![1],
            nodes_per_edge: None,
            edge_workers: 1,
            node_workers: 1,
            native_drain: false,
            tls: false,
            http3: false,
            discovered: false,
            upstream_http2: false,
            application_http2: false,
            envoy: None,
            edge_filters: true,
            node_filter: true,
            edge_manager: json!({}),
            edge_lua: None,
            edge_changes: |_| Ok(()),
            node_changes: |_| Ok(()),
            environment: &[],
            http: json!({}),
            connection: json!({}),
            node: json!({}),
            health_check_interval: "1s".into(),
            application: StartApplication(|address| Box::pin(Application::start(address))),
        }
    }
}

impl FleetSpec {
    /// The nodes of the edge with this index, by theirs.
    pub(super) fn nodes_of(&self, edge: usize) -> Range<usize> {
        let all = self.node_weights.len();
        match self.nodes_per_edge {
            None => 0..all,
            Some(own) => (edge * own).min(all)..((edge + 1) * own).min(all),
        }
    }

    /// Nodes that ask for so many closes that a few thousand requests meet dozens of them.
    #[must_use]
    pub fn closing_often(self) -> Self {
        let spec = self.closing_everything();
        let node = json!({
            "close_rate": { "per_second": 40 },
            "min_connection_age": "0s",
            "share_window": "1s",
        });
        Self { node, ..spec }
    }

    /// Nodes that ask to close every connection they see, as soon as they have seen it twice.
    #[must_use]
    pub fn closing_everything(self) -> Self {
        let node = json!({
            "close_rate": { "per_second": 10_000 },
            "min_connection_age": "0s",
            "share_window": "1s",
        });
        let http = json!({ "max_closes_per_second": 100_000 });
        Self { http, node, ..self }
    }
}

// === impl StartApplication ===

impl StartApplication {
    pub(super) async fn start(self, address: Ipv4Addr) -> Result<Application> {
        (self.0)(address).await
    }
}

impl fmt::Debug for StartApplication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartApplication")
    }
}

// === impl EdgeConfig ===

impl EdgeConfig<'_> {
    /// The bootstrap of the edge.
    ///
    /// # Errors
    /// The shipped configuration has changed its shape.
    pub fn bootstrap(&self) -> Result<Bootstrap> {
        let spec = self.spec;
        let native_drain = spec.native_drain || spec.http3;
        let name = match (spec.http3, native_drain, self.discovery) {
            (_, _, Some(_)) => "xds/edge.yaml",
            (true, _, _) => "edge-http3.yaml",
            (false, true, _) => "edge-native-drain.yaml",
            (false, false, _) => "edge.yaml",
        };
        let mut bootstrap = Bootstrap::shipped(name)?;
        bootstrap.listen(self.name, self.address, self.admin)?;
        bootstrap.upstreams(self.nodes)?;
        bootstrap.announce(self.name, self.weight, &spec.health_check_interval)?;
        if spec.upstream_http2 {
            bootstrap.upstream_http2()?;
        }
        if spec.http3 {
            bootstrap.certificates(self.certificates)?;
        } else if spec.tls {
            bootstrap.downstream_tls(self.certificates)?;
        }
        if let Some(discovery) = self.discovery {
            discovery.serve(&mut bootstrap, "spillway.http", &spec.http)?;
            discovery.serve(&mut bootstrap, "spillway.connection", &spec.connection)?;
        } else {
            bootstrap.spillway("spillway.http", self.filters, &json!({ "weight": self.weight }))?;
            bootstrap.spillway("spillway.http", self.filters, &spec.http)?;
            if !native_drain {
                bootstrap.spillway("spillway.connection", self.filters, &spec.connection)?;
            }
        }
        if !spec.edge_filters {
            bootstrap.without("spillway.http")?;
            if !native_drain {
                bootstrap.without("spillway.connection")?;
            }
        }
        bootstrap.connection_manager(&spec.edge_manager)?;
        if let Some(code) = &spec.edge_lua {
            bootstrap.lua(code)?;
        }
        (spec.edge_changes)(&mut bootstrap)?;
        Ok(bootstrap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_share_the_nodes_or_have_their_own() {
        let shared = FleetSpec { node_weights: vec![1; 4], ..FleetSpec::default() };
        assert_eq!((shared.nodes_of(0), shared.nodes_of(1)), (0..4, 0..4));
        let own = FleetSpec { nodes_per_edge: Some(2), ..shared };
        assert_eq!((own.nodes_of(0), own.nodes_of(1), own.nodes_of(2)), (0..2, 2..4, 4..4));
    }
}
