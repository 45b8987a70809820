//! Where a client connects to: the first A record, asked for anew each time.
//!
//! The first one, because that is what `getaddrinfo` users do; no cache,
//! because the one question a client asks per connection is the moment in which
//! the load spreads.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_proto::rr::{Name, RData};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Resolves one name at one DNS server.
///
/// Each client needs one of its own ([`Resolver::another`]): hickory joins equal questions that
/// are under way at once, and clients that share an answer land on the same edge.
#[derive(Debug)]
pub struct Resolver {
    server: SocketAddr,
    name: Name,
    inner: TokioResolver,
}

// === impl Resolver ===

impl Resolver {
    /// Asks the server at `server` for `name`. To be called inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// `name` is not a DNS name.
    pub fn new(server: SocketAddr, name: &str) -> Result<Self> {
        let mut name =
            Name::from_ascii(name).with_context(|| format!("{name:?} is no DNS name"))?;
        // Else the resolver would try it below the machine's search domains too.
        name.set_fqdn(true);
        Self::build(server, name)
    }

    /// One that asks the same question by itself.
    ///
    /// # Errors
    ///
    /// hickory cannot be set up once more.
    pub fn another(&self) -> Result<Self> {
        Self::build(self.server, self.name.clone())
    }

    fn build(server: SocketAddr, name: Name) -> Result<Self> {
        let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = server.port();
        }
        let config = ResolverConfig::from_name_servers(vec![NameServerConfig::new(
            server.ip(),
            true,
            connections.to_vec(),
        )]);
        let mut options = ResolverOpts::default();
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = Duration::from_secs(2);
        options.attempts = 3;
        // The port is the kernel's business: hickory's own choice may take one that an Envoy of
        // ours is about to bind.
        options.os_port_selection = true;
        let inner = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .context("cannot set up the DNS resolver")?;
        Ok(Self { server, name, inner })
    }

    /// The first A record of the answer.
    ///
    /// # Errors
    ///
    /// The server does not answer, does not know the name, or has no address for it.
    pub async fn resolve(&self) -> Result<Ipv4Addr> {
        let lookup = self
            .inner
            .ipv4_lookup(self.name.clone())
            .await
            .with_context(|| format!("cannot resolve {}", self.name))?;
        lookup
            .answers()
            .iter()
            .find_map(|record| match &record.data {
                RData::A(address) => Some(address.0),
                _ => None,
            })
            .with_context(|| format!("{} has no address", self.name))
    }
}
