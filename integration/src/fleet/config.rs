//! The shipped Envoy configurations, with addresses, names and paths filled in.
//!
//! What users copy from `envoy-configs/` is what runs here. Only ports, names, paths and the
//! JSON of the filters' own configuration are put in their places; a place that is no longer
//! there is an error, not something to step over.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use redistribution::wire::Stamp;
use serde_json::{Value, json};

use crate::artifacts::workspace;
use crate::tls::TestCertificates;

const LISTENERS: &str = "/static_resources/listeners";
const LISTENER: &str = "/static_resources/listeners/0";
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";
const CLUSTER: &str = "/static_resources/clusters/0";

/// An Envoy configuration being filled in.
#[derive(Clone, Debug)]
pub struct Bootstrap(Value);

/// A node as an edge sees it.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Where its Envoy listens.
    pub address: SocketAddr,
    /// Its weight among the nodes.
    pub weight: u32,
}

// === impl Bootstrap ===

impl Bootstrap {
    /// Reads `envoy-configs/<name>`.
    ///
    /// # Errors
    /// There is no such file, or it is not YAML.
    pub fn shipped(name: &str) -> Result<Self> {
        read_yaml(&workspace().join("envoy-configs").join(name)).map(Self)
    }

    /// Names the Envoy, and says where it listens for traffic and for its operator.
    ///
    /// # Errors
    /// The configuration has no such places.
    pub fn listen(&mut self, id: &str, traffic: SocketAddr, admin: SocketAddr) -> Result<()> {
        self.set("/node/id", json!(id))?;
        self.set("/admin/address", socket_address(admin))?;
        // More than one: the same address for TCP and for UDP.
        for listener in self.listeners()? {
            let address = self.at(&format!("{listener}/address/socket_address"))?;
            lay_over(address, &socket_address(traffic)["socket_address"]);
        }
        Ok(())
    }

    /// Says where requests go.
    ///
    /// # Errors
    /// The configuration has no such place.
    pub fn upstreams(&mut self, upstreams: &[Endpoint]) -> Result<()> {
        let endpoints: Vec<_> = upstreams
            .iter()
            .map(|upstream| {
                json!({
                    "endpoint": { "address": socket_address(upstream.address) },
                    "load_balancing_weight": upstream.weight,
                })
            })
            .collect();
        self.set(&format!("{CLUSTER}/type"), json!("STATIC"))?;
        self.set(&format!("{CLUSTER}/load_assignment/endpoints/0/lb_endpoints"), json!(endpoints))
    }

    /// Announces the load balancer under `id` in the health checks of its nodes, which are
    /// made every `interval`. They have to tell its weight too: nodes go by it until a request says.
    ///
    /// # Errors
    /// The configuration has no such place.
    pub fn announce(&mut self, id: &str, weight: f64, interval: &str) -> Result<()> {
        let check = format!("{CLUSTER}/health_checks/0");
        let header = format!("{check}/http_health_check/request_headers_to_add/0/header/value");
        let mut stamp = String::new();
        Stamp { id: id.into(), pool: "default".into(), weight, position: None }.write(&mut stamp);
        self.set(&header, json!(stamp))?;
        self.set(&format!("{check}/interval"), json!(interval))?;
        self.set(&format!("{check}/no_traffic_interval"), json!(interval))
    }

    /// Has requests go to the upstreams over HTTP/2.
    ///
    /// # Errors
    /// The configuration has no cluster.
    pub fn upstream_http2(&mut self) -> Result<()> {
        self.upstream_protocol(&json!({ "http2_protocol_options": {} }))
    }

    /// Says what is spoken to the upstreams, as an `explicit_http_config`.
    ///
    /// # Errors
    /// The configuration has no cluster.
    pub fn upstream_protocol(&mut self, protocol: &Value) -> Result<()> {
        let cluster = self.at(CLUSTER)?.as_object_mut().context("the cluster is no object")?;
        cluster.insert(
            "typed_extension_protocol_options".into(),
            json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": protocol
                }
            }),
        );
        Ok(())
    }

    /// Serves TLS with the shipped fragment.
    ///
    /// # Errors
    /// The fragment cannot be read, or there is no filter chain.
    pub fn downstream_tls(&mut self, certificates: &TestCertificates) -> Result<()> {
        let mut tls = Self::shipped("downstream-tls.yaml")?;
        let certificate = "/transport_socket/typed_config/common_tls_context/tls_certificates/0";
        for (field, path) in [
            ("certificate_chain", certificates.certificate_path()),
            ("private_key", certificates.key_path()),
        ] {
            tls.set(&format!("{certificate}/{field}/filename"), json!(path))?;
        }
        let socket = tls.at("/transport_socket")?.take();
        let chain = self.at(&format!("{LISTENER}/filter_chains/0"))?;
        chain
            .as_object_mut()
            .context("the filter chain is no object")?
            .insert("transport_socket".into(), socket);
        Ok(())
    }

    /// Serves this certificate where the configuration has TLS of its own.
    ///
    /// # Errors
    /// A listener has none.
    pub fn certificates(&mut self, certificates: &TestCertificates) -> Result<()> {
        for listener in self.listeners()? {
            let tls = format!("{listener}/filter_chains/0/transport_socket/typed_config");
            let quic = format!("{tls}/downstream_tls_context");
            let tls = if self.0.pointer(&quic).is_some() { quic } else { tls };
            let certificate = format!("{tls}/common_tls_context/tls_certificates/0");
            for (field, path) in [
                ("certificate_chain", certificates.certificate_path()),
                ("private_key", certificates.key_path()),
            ] {
                self.set(&format!("{certificate}/{field}/filename"), json!(path))?;
            }
        }
        Ok(())
    }

    /// Takes the module of the filter `name` from `filters`, and lays `overlay` over its
    /// configuration, field by field; a field that is `null` there is taken out.
    ///
    /// # Errors
    /// There is no such filter, or its configuration is not JSON.
    pub fn spillway(&mut self, name: &str, filters: &Path, overlay: &Value) -> Result<()> {
        for place in self.places_of(name)? {
            fill_in(self.at(&place)?, name, filters, overlay)?;
        }
        Ok(())
    }

    /// Lays `overlay` over the HTTP connection manager, field by field; a field that is `null`
    /// there is taken out.
    ///
    /// # Errors
    /// There is no HTTP connection manager.
    pub fn connection_manager(&mut self, overlay: &Value) -> Result<()> {
        for place in self.places_of(CONNECTION_MANAGER)? {
            lay_over(self.at(&format!("{place}/typed_config"))?, overlay);
        }
        Ok(())
    }

    /// Puts a Lua filter with this code in front of the other HTTP filters.
    ///
    /// # Errors
    /// There are no HTTP filters.
    pub fn lua(&mut self, code: &str) -> Result<()> {
        let filter = json!({
            "name": "lua",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
                "default_source_code": { "inline_string": code },
            },
        });
        for place in self.places_of(CONNECTION_MANAGER)? {
            let filters = self.at(&format!("{place}/typed_config/http_filters"))?;
            filters.as_array_mut().context("no list of filters")?.insert(0, filter.clone());
        }
        Ok(())
    }

    /// The HTTP filters of the first listener, to be changed.
    ///
    /// # Errors
    /// There are none.
    pub fn http_filters(&mut self) -> Result<&mut Vec<Value>> {
        let filters = self.filter(CONNECTION_MANAGER)?.pointer_mut("/typed_config/http_filters");
        filters.and_then(Value::as_array_mut).context("no list of filters")
    }

    /// The network or HTTP filter `name` of the first listener that has it, to be changed.
    ///
    /// # Errors
    /// There is no such filter.
    pub fn filter(&mut self, name: &str) -> Result<&mut Value> {
        let places = self.places_of(name)?;
        self.at(places.first().context("no place")?)
    }

    /// Gives the filter `name` this text as its configuration, whatever it may be.
    ///
    /// # Errors
    /// There is no such filter.
    pub fn raw_configuration(&mut self, name: &str, text: &str) -> Result<()> {
        for place in self.places_of(name)? {
            *configuration_of(self.at(&place)?, name)? = json!(text);
        }
        Ok(())
    }

    /// Takes the filter `name` out of its chain.
    ///
    /// # Errors
    /// There is no such filter.
    pub fn without(&mut self, name: &str) -> Result<()> {
        for place in self.places_of(name)? {
            let (chain, index) = place.rsplit_once('/').context("no chain")?;
            let index: usize = index.parse()?;
            self.at(chain)?.as_array_mut().context("no list of filters")?.remove(index);
        }
        Ok(())
    }

    /// The value at a JSON pointer, to be changed.
    ///
    /// # Errors
    /// There is none.
    pub fn at(&mut self, pointer: &str) -> Result<&mut Value> {
        self.0.pointer_mut(pointer).with_context(|| format!("the configuration has no {pointer}"))
    }

    /// The whole configuration.
    #[must_use]
    pub fn into_value(self) -> Value {
        self.0
    }

    fn set(&mut self, pointer: &str, value: Value) -> Result<()> {
        *self.at(pointer)? = value;
        Ok(())
    }

    fn listeners(&self) -> Result<Vec<String>> {
        let listeners = self.0.pointer(LISTENERS).and_then(Value::as_array);
        let count = listeners.context("no listeners")?.len();
        Ok((0..count).map(|index| format!("{LISTENERS}/{index}")).collect())
    }

    /// The pointers to the network or HTTP filter `name`: at most one of each listener.
    fn places_of(&self, name: &str) -> Result<Vec<String>> {
        let mut places = Vec::new();
        for listener in self.listeners()? {
            places.extend(self.place_in(&format!("{listener}/filter_chains/0/filters"), name)?);
        }
        anyhow::ensure!(!places.is_empty(), "the configuration has no filter {name}");
        Ok(places)
    }

    fn place_in(&self, chain: &str, name: &str) -> Result<Option<String>> {
        let network = self.0.pointer(chain).and_then(Value::as_array);
        for (n, filter) in network.context("no network filters")?.iter().enumerate() {
            if filter["name"] == name {
                return Ok(Some(format!("{chain}/{n}")));
            }
            let http = filter.pointer("/typed_config/http_filters").and_then(Value::as_array);
            let found = http.and_then(|http| http.iter().position(|f| f["name"] == name));
            if let Some(h) = found {
                return Ok(Some(format!("{chain}/{n}/typed_config/http_filters/{h}")));
            }
        }
        Ok(None)
    }
}

/// Takes the module of a Wasm filter from `filters`, and lays `overlay` over its configuration.
pub(super) fn fill_in(
    filter: &mut Value,
    name: &str,
    filters: &Path,
    overlay: &Value,
) -> Result<()> {
    let file = filter
        .pointer_mut("/typed_config/config/vm_config/code/local/filename")
        .with_context(|| format!("{name} has no file"))?;
    let module = Path::new(file.as_str().unwrap_or_default())
        .file_name()
        .with_context(|| format!("{name} names no module"))?
        .to_owned();
    *file = json!(filters.join(module));
    let configuration = configuration_of(filter, name)?;
    let mut json: Value = serde_json::from_str(configuration.as_str().unwrap_or_default())
        .with_context(|| format!("the configuration of {name} is not JSON"))?;
    lay_over(&mut json, overlay);
    *configuration = json!(json.to_string());
    Ok(())
}

/// The JSON that a Wasm filter is configured with.
pub(super) fn configuration_of<'v>(filter: &'v mut Value, name: &str) -> Result<&'v mut Value> {
    filter
        .pointer_mut("/typed_config/config/configuration/value")
        .with_context(|| format!("{name} has no configuration"))
}

/// Reads a YAML file, with its anchors resolved, as JSON.
///
/// # Errors
/// It cannot be read, or is not YAML.
pub fn read_yaml(path: &Path) -> Result<Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))
}

fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}

fn lay_over(base: &mut Value, overlay: &Value) {
    let (Value::Object(base), Value::Object(overlay)) = (&mut *base, overlay) else {
        *base = overlay.clone();
        return;
    };
    for (name, value) in overlay {
        if value.is_null() {
            base.remove(name);
        } else {
            // Policies exclude each other: what is laid over replaces a field as a whole.
            base.insert(name.clone(), value.clone());
        }
    }
}
