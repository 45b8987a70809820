//! The contenders: the same listener with another filter each.
//!
//! Those of Spillway stand in the shipped configurations, and the others in their places there.

use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::routes::{ONE_IN, ONE_IN_SAMPLED, routes};
use crate::fleet::{Bootstrap, Endpoint};

const CONNECTION: &str = "spillway.connection";
const HTTP: &str = "spillway.http";
const NODE: &str = "spillway.node";
/// More than any of them closes: no limit decides anything here.
const MAX_CLOSES_PER_SECOND: u32 = 100_000;
/// Closes that the node asks for, where connections are closed.
const NODE_CLOSES_PER_SECOND: u32 = 40;

/// What stands in the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Contender {
    /// Envoy without a filter of ours.
    NoFilter,
    /// The empty HTTP filter of the Rust SDK.
    EmptySdkFilter,
    /// Spillway in the node's Envoy.
    NodeFilter,
    /// Spillway at the edge: the HTTP role alone.
    LbHttpRole,
    /// The HTTP role and the connection role.
    LbBothRoles,
    /// The HTTP role with the Lua filter that has Envoy drain connections.
    LbNativeDrain,
    /// The HTTP role's decisions written in Lua.
    Lua,
    /// Envoy's own way to close connections, at a fixed age.
    MaxConnectionDuration,
}

/// Where a contender runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub traffic: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
    /// Has the large bodies.
    pub backend: std::net::SocketAddr,
    /// The folder of the filters.
    pub filters: &'a Path,
    /// The empty filter.
    pub empty_filter: &'a Path,
    /// Whether connections are closed.
    pub closes: bool,
}

// === impl Contender ===

impl Contender {
    /// What it is called, on the command line as in results.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it is, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NoFilter => "Envoy without a filter",
            Self::EmptySdkFilter => "empty HTTP filter of the Rust SDK",
            Self::NodeFilter => "node_filter.wasm",
            Self::LbHttpRole => "lb_filter.wasm, HTTP role alone",
            Self::LbBothRoles => "lb_filter.wasm, HTTP and connection role",
            Self::LbNativeDrain => "lb_filter.wasm, HTTP role and native drain",
            Self::Lua => "stamps and closes in Lua",
            Self::MaxConnectionDuration => "max_connection_duration",
        }
    }

    /// Whether it takes part where connections are closed. The HTTP role alone cannot close one:
    /// with what it needs for that it is another contender.
    pub(super) fn can_meet_closes(self) -> bool {
        self != Self::LbHttpRole
    }

    /// Whether it stamps a sample of its requests where they are many.
    fn samples(self) -> bool {
        matches!(self, Self::LbHttpRole | Self::LbBothRoles | Self::LbNativeDrain)
    }

    /// Whether it reads stamps. All others get a header that is as long, and is none.
    pub(super) fn reads_stamps(self) -> bool {
        self == Self::NodeFilter
    }

    /// Its Envoy's configuration.
    pub(super) fn bootstrap(self, place: Place<'_>) -> Result<Value> {
        let mut bootstrap = match self {
            Self::LbNativeDrain => Bootstrap::shipped("edge-native-drain.yaml")?,
            _ => Bootstrap::shipped("edge.yaml")?,
        };
        bootstrap.listen("edge-1", place.traffic, place.admin)?;
        bootstrap.upstreams(&[Endpoint { address: place.backend, weight: 1 }])?;
        let cluster = bootstrap.at("/static_resources/clusters/0")?;
        cluster.as_object_mut().context("no cluster")?.remove("health_checks");
        let one_in = if self.samples() { ONE_IN_SAMPLED } else { ONE_IN };
        bootstrap.connection_manager(&json!({ "route_config": routes(one_in) }))?;
        let limit = json!({ "max_closes_per_second": MAX_CLOSES_PER_SECOND });
        match self {
            Self::LbBothRoles | Self::LbNativeDrain | Self::LbHttpRole => {
                bootstrap.spillway(HTTP, place.filters, &limit)?;
            }
            _ => {}
        }
        match self {
            Self::LbBothRoles => bootstrap.spillway(CONNECTION, place.filters, &json!({}))?,
            Self::LbNativeDrain => {}
            _ => bootstrap.without(CONNECTION)?,
        }
        match self {
            Self::LbBothRoles | Self::LbNativeDrain | Self::LbHttpRole => {}
            Self::EmptySdkFilter => empty_filter(&mut bootstrap, place.empty_filter)?,
            Self::NodeFilter => node_filter(&mut bootstrap, place)?,
            Self::NoFilter | Self::Lua | Self::MaxConnectionDuration => bootstrap.without(HTTP)?,
        }
        match self {
            Self::Lua => bootstrap.lua(LUA)?,
            Self::MaxConnectionDuration => {
                // With twenty connections as many closes as the others have, or none.
                let age = if place.closes { "0.5s" } else { "3600s" };
                bootstrap.connection_manager(&json!({
                    "common_http_protocol_options": { "max_connection_duration": age },
                }))?;
            }
            _ => {}
        }
        Ok(bootstrap.into_value())
    }
}

fn empty_filter(bootstrap: &mut Bootstrap, module: &Path) -> Result<()> {
    let folder = module.parent().context("the module is nowhere")?;
    bootstrap.spillway(HTTP, folder, &json!({}))?;
    let filter = bootstrap.filter(HTTP)?;
    let config = filter.pointer_mut("/typed_config/config").context("no configuration")?;
    config["vm_config"]["code"]["local"]["filename"] = json!(module);
    config["vm_config"]["vm_id"] = json!("empty");
    // It has other imports than the module whose place it takes.
    config.as_object_mut().context("no object")?.remove("capability_restriction_config");
    Ok(())
}

/// Puts the node's filter, as shipped, in the place of the edge's.
fn node_filter(bootstrap: &mut Bootstrap, place: Place<'_>) -> Result<()> {
    let mut node = Bootstrap::shipped("node.yaml")?;
    let closing = if place.closes {
        json!({
            "close_rate": { "per_second": NODE_CLOSES_PER_SECOND },
            "min_connection_age": "0s",
        })
    } else {
        json!({})
    };
    node.spillway(NODE, place.filters, &closing)?;
    let node = node.filter(NODE)?.take();
    *bootstrap.filter(HTTP)? = node;
    Ok(())
}

/// What one writes who has nothing but Lua: it counts and stamps requests, takes close requests off
/// responses, and closes. A connection has no id there, but an address.
const LUA: &str = r#"
local seq = 0
function envoy_on_request(handle)
  seq = seq + 1
  local connection = handle:streamInfo():downstreamDirectRemoteAddress()
  handle:headers():replace("spillway-lb",
    'id="edge-1", vm=lua, seq=' .. seq .. ', conn="' .. connection .. '"')
end
function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get("spillway-close") then
    headers:remove("spillway-close")
    handle:streamInfo():drainConnectionUponCompletion()
  end
end
"#;
