//! The DNS server in front of a fleet: one name, one A record per edge.
//!
//! Where a client lands is decided here and nowhere else, so it is a real
//! server that is asked over the network. Records come in rotating order, one
//! step per query, as most authoritative servers give them; a client that takes
//! the first record is then spread evenly over the edges. The TTL is a second:
//! long enough to be honest, short enough that a new edge is seen at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hickory_proto::op::{Header, HeaderCounts, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

const TTL_SECONDS: u32 = 1;
const TCP_IDLE_BOUND: Duration = Duration::from_secs(5);
const TCP_RESPONSES_BUFFERED: usize = 16;
/// The kernel picks the UDP port; TCP must get the same one, which may be taken.
const PORT_ATTEMPTS: u32 = 20;

/// A running DNS server; ends when dropped.
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    // Its tasks end with it.
    _server: Server<Handler>,
}

/// What the server answers, shared with it while it runs.
#[derive(Debug)]
struct Zone {
    name: Name,
    addresses: Mutex<Vec<Ipv4Addr>>,
    queries: AtomicU64,
}

struct Handler(Arc<Zone>);

// === impl DnsServer ===

impl DnsServer {
    /// Starts a server for `name` on `address`, UDP and TCP, at a port that the kernel picks.
    ///
    /// # Errors
    ///
    /// `name` is not a DNS name, or `address` is not local.
    pub async fn start(address: Ipv4Addr, name: &str, addresses: Vec<Ipv4Addr>) -> Result<Self> {
        let mut name =
            Name::from_ascii(name).with_context(|| format!("{name:?} is no DNS name"))?;
        name.set_fqdn(true);
        let zone =
            Arc::new(Zone { name, addresses: Mutex::new(addresses), queries: AtomicU64::new(0) });
        let (udp, tcp) = bind_both(address).await?;
        let address = udp.local_addr().context("no local address")?;
        let mut server = Server::new(Handler(Arc::clone(&zone)));
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE_BOUND, TCP_RESPONSES_BUFFERED);
        Ok(Self { address, zone, _server: server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name it answers, with the final dot.
    #[must_use]
    pub fn name(&self) -> String {
        self.zone.name.to_ascii()
    }

    /// From now on, answers with these addresses.
    pub fn set_addresses(&self, addresses: Vec<Ipv4Addr>) {
        *self.zone.lock() = addresses;
    }

    /// The addresses it answers with, in the order of the next answer.
    #[must_use]
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        self.zone.lock().clone()
    }

    /// Questions answered so far, of any name and type.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.zone.queries.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for DnsServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("DnsServer")
            .field("address", &self.address)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

async fn bind_both(address: Ipv4Addr) -> Result<(UdpSocket, TcpListener)> {
    for _ in 0..PORT_ATTEMPTS {
        let udp = UdpSocket::bind((address, 0))
            .await
            .with_context(|| format!("cannot bind a UDP socket on {address}"))?;
        let port = udp.local_addr().context("no local address")?.port();
        if let Ok(tcp) = TcpListener::bind((address, port)).await {
            return Ok((udp, tcp));
        }
    }
    bail!("no port on {address} is free for both UDP and TCP; are thousands of sockets open there?")
}

// === impl Zone ===

impl Zone {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Ipv4Addr>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to one question; each question for the addresses turns their order by one.
    fn answer(&self, name: &LowerName, record_type: RecordType) -> (ResponseCode, Vec<Record>) {
        self.queries.fetch_add(1, Ordering::Relaxed);
        if *name != LowerName::from(&self.name) {
            return (ResponseCode::NXDomain, Vec::new());
        }
        if record_type != RecordType::A {
            return (ResponseCode::NoError, Vec::new());
        }
        let mut addresses = self.lock();
        let records = addresses
            .iter()
            .map(|address| {
                Record::from_rdata(self.name.clone(), TTL_SECONDS, RData::A(A(*address)))
            })
            .collect();
        if !addresses.is_empty() {
            addresses.rotate_left(1);
        }
        (ResponseCode::NoError, records)
    }
}

// === impl Handler ===

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let (code, records) = match request.request_info() {
            Ok(info) if request.metadata.op_code == OpCode::Query => {
                self.0.answer(info.query.name(), info.query.query_type())
            }
            Ok(_) => (ResponseCode::NotImp, Vec::new()),
            Err(_) => (ResponseCode::FormErr, Vec::new()),
        };
        metadata.response_code = code;
        let response = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            &records,
            [],
            [],
            [],
        );
        // A client that is gone cannot be told; the information goes only into hickory's log.
        response_handle.send_response(response).await.unwrap_or_else(|_| {
            ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Resolver;
    use crate::loopback::LoopbackBlock;

    const NAME: &str = "edge.spillway.test.";

    #[tokio::test]
    async fn the_order_rotates_and_a_new_set_is_seen_at_once() {
        let block = LoopbackBlock::claim().unwrap();
        let edges: Vec<_> = (1..=3).map(|number| block.address(number)).collect();
        let server = DnsServer::start(block.address(10), NAME, edges.clone()).await.unwrap();
        let resolver = Resolver::new(server.address(), NAME).unwrap();
        for round in 0..7 {
            assert_eq!(resolver.resolve().await.unwrap(), edges[round % 3]);
        }
        server.set_addresses(vec![block.address(4)]);
        assert_eq!(resolver.resolve().await.unwrap(), block.address(4));
        assert_eq!(server.queries(), 8);

        server.set_addresses(Vec::new());
        let error = format!("{:#}", resolver.resolve().await.unwrap_err());
        assert!(error.contains("edge.spillway.test"), "{error}");
    }

    #[tokio::test]
    async fn other_names_do_not_exist_and_other_types_are_empty() {
        let block = LoopbackBlock::claim().unwrap();
        let server =
            DnsServer::start(block.address(10), NAME, vec![block.address(1)]).await.unwrap();
        let other = Resolver::new(server.address(), "other.spillway.test.").unwrap();
        assert!(other.resolve().await.is_err());

        let name = LowerName::from(&server.zone.name);
        let (code, records) = server.zone.answer(&name, RecordType::AAAA);
        assert_eq!((code, records.len()), (ResponseCode::NoError, 0));
        let stranger = LowerName::from(&Name::from_ascii("x.test.").unwrap());
        let (code, _) = server.zone.answer(&stranger, RecordType::A);
        assert_eq!(code, ResponseCode::NXDomain);
        assert_eq!(server.zone.answer(&name, RecordType::A).1[0].ttl, 1);
    }
}
