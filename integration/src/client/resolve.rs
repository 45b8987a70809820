//! Where a client connects to: the first A record, asked for anew each time.
//!
//! The first one, because that is what `getaddrinfo` users do; no cache,
//! because the one question a client asks per connection is the moment in which
//! the load spreads. Clients in the field often sit behind a resolver that does
//! cache: such a one is shared by its clients, and keeps the first record for as
//! long as it is told, whatever TTL the record has.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_proto::rr::{Name, RData};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// Resolves one name at one DNS server.
///
/// Each client needs one of its own ([`Resolver::another`]): hickory joins equal questions that
/// are under way at once, and clients that share an answer land on the same edge. With a cache
/// ([`Resolver::caching`]) that is what is wanted: all that come of it share the cache.
#[derive(Debug)]
pub struct Resolver {
    server: SocketAddr,
    name: Name,
    inner: TokioResolver,
    cache: Option<Arc<Mutex<Cache>>>,
}

/// The address that is kept, and for how long.
#[derive(Debug)]
struct Cache {
    time: Duration,
    kept: Option<(Ipv4Addr, Instant)>,
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

    /// Has it keep what it was told for `time`, for itself and for all that come of it by
    /// [`another`](Self::another): one cache, which others asked for by `caching` do not share.
    #[must_use]
    pub fn caching(self, time: Duration) -> Self {
        Self { cache: Some(Arc::new(Mutex::new(Cache { time, kept: None }))), ..self }
    }

    /// From now on, keeps what it was told for `time`, also what it keeps already. It does nothing
    /// without a cache.
    pub async fn keep_for(&self, time: Duration) {
        if let Some(cache) = self.lock().await.as_deref_mut() {
            cache.time = time;
        }
    }

    /// One that asks the same question by itself, or of the same cache.
    ///
    /// # Errors
    ///
    /// hickory cannot be set up once more.
    pub fn another(&self) -> Result<Self> {
        let cache = self.cache.clone();
        Ok(Self { cache, ..Self::build(self.server, self.name.clone())? })
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
        Ok(Self { server, name, inner, cache: None })
    }

    /// The first A record of the answer, or the one that is kept.
    ///
    /// # Errors
    ///
    /// The server does not answer, does not know the name, or has no address for it.
    pub async fn resolve(&self) -> Result<Ipv4Addr> {
        // Held over the question, so that clients which come at once ask it once.
        let mut cache = self.lock().await;
        if let Some(address) = cache.as_ref().and_then(|cache| cache.get(Instant::now())) {
            return Ok(address);
        }
        let address = self.ask().await?;
        if let Some(cache) = &mut cache {
            cache.kept = Some((address, Instant::now()));
        }
        Ok(address)
    }

    async fn lock(&self) -> Option<MutexGuard<'_, Cache>> {
        match &self.cache {
            Some(cache) => Some(cache.lock().await),
            None => None,
        }
    }

    async fn ask(&self) -> Result<Ipv4Addr> {
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

// === impl Cache ===

impl Cache {
    fn get(&self, now: Instant) -> Option<Ipv4Addr> {
        let (address, since) = self.kept?;
        (now.duration_since(since) < self.time).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::DnsServer;
    use crate::loopback::LoopbackBlock;

    const NAME: &str = "edge.spillway.test.";
    const HOUR: Duration = Duration::from_hours(1);

    #[tokio::test]
    async fn clients_of_a_cache_get_what_it_keeps_and_each_cache_keeps_its_own() {
        let block = LoopbackBlock::claim().unwrap();
        let [a, b] = [1, 2].map(|number| block.address(number));
        let server = DnsServer::start(block.address(10), NAME, vec![a, b]).await.unwrap();
        let resolver = || Resolver::new(server.address(), NAME).unwrap();
        let (one, two) = (resolver().caching(HOUR), resolver().caching(HOUR));
        let client = one.another().unwrap();
        let (first, second) = tokio::join!(client.resolve(), one.resolve());
        assert_eq!((first.unwrap(), second.unwrap()), (a, a));
        for _ in 0..3 {
            assert_eq!(one.resolve().await.unwrap(), a);
            assert_eq!(two.another().unwrap().resolve().await.unwrap(), b);
        }
        assert_eq!(server.queries(), 2);

        one.keep_for(Duration::ZERO).await;
        let three = block.address(3);
        server.set_addresses(vec![three]);
        assert_eq!(client.resolve().await.unwrap(), three);
        assert_eq!(two.resolve().await.unwrap(), b);
    }

    #[tokio::test]
    async fn what_cannot_be_resolved_is_not_kept() {
        let block = LoopbackBlock::claim().unwrap();
        let server = DnsServer::start(block.address(10), NAME, Vec::new()).await.unwrap();
        let resolver = Resolver::new(server.address(), NAME).unwrap().caching(HOUR);
        assert!(resolver.resolve().await.is_err());
        server.set_addresses(vec![block.address(1)]);
        assert_eq!(resolver.resolve().await.unwrap(), block.address(1));
    }

    #[test]
    fn an_address_is_kept_for_its_time() {
        let now = Instant::now();
        let kept = Some((Ipv4Addr::LOCALHOST, now));
        let cache = Cache { time: HOUR, kept };
        assert_eq!(cache.get(now), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(cache.get(now + HOUR - Duration::from_nanos(1)), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(cache.get(now + HOUR), None);
        assert_eq!(Cache { time: HOUR, kept: None }.get(now), None);
    }
}
