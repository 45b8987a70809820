//! The DNS server in front of a fleet: one name, one A record per edge.
//!
//! Where a client lands is decided here and nowhere else, so it is a real
//! server that is asked over the network. Records come in rotating order, one
//! step per query, as most authoritative servers give them; a client that takes
//! the first record is then spread evenly over the edges. Where addresses have
//! weights, each comes first in its part of the answers, in a fixed order that
//! is as even as can be. The TTL is a second: long enough to be honest, short
//! enough that a new edge is seen at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    rotation: Mutex<Rotation>,
    queries: AtomicU64,
}

/// Addresses that take turns to come first, each as often as its weight has it.
#[derive(Debug, Default)]
struct Rotation(Vec<Entry>);

/// An address of the zone.
#[derive(Debug)]
struct Entry {
    address: Ipv4Addr,
    weight: u32,
    /// How far it is behind its part of the answers, in answers times all weights.
    behind: i64,
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
        let rotation = Mutex::new(Rotation::new(alike(addresses)));
        let zone = Arc::new(Zone { name, rotation, queries: AtomicU64::new(0) });
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

    /// From now on, answers with these addresses, each of which comes first as often.
    pub fn set_addresses(&self, addresses: Vec<Ipv4Addr>) {
        self.set_weighted_addresses(alike(addresses));
    }

    /// From now on, answers with these addresses, each of which comes first in as many answers as
    /// its weight has it: of weights 3 and 1, in 3 of 4. One of weight 0 never does, and is left out.
    pub fn set_weighted_addresses(&self, addresses: Vec<(Ipv4Addr, u32)>) {
        *self.zone.lock() = Rotation::new(addresses);
    }

    /// The addresses it answers with, and their weights.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Ipv4Addr, u32)> {
        self.zone.lock().0.iter().map(|entry| (entry.address, entry.weight)).collect()
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

fn alike(addresses: Vec<Ipv4Addr>) -> Vec<(Ipv4Addr, u32)> {
    addresses.into_iter().map(|address| (address, 1)).collect()
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
    fn lock(&self) -> MutexGuard<'_, Rotation> {
        self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to one question; each question for the addresses turns their order.
    fn answer(&self, name: &LowerName, record_type: RecordType) -> (ResponseCode, Vec<Record>) {
        self.queries.fetch_add(1, Ordering::Relaxed);
        if *name != LowerName::from(&self.name) {
            return (ResponseCode::NXDomain, Vec::new());
        }
        if record_type != RecordType::A {
            return (ResponseCode::NoError, Vec::new());
        }
        let addresses = self.lock().next();
        let record =
            |address| Record::from_rdata(self.name.clone(), TTL_SECONDS, RData::A(A(address)));
        (ResponseCode::NoError, addresses.into_iter().map(record).collect())
    }
}

// === impl Rotation ===

impl Rotation {
    fn new(addresses: Vec<(Ipv4Addr, u32)>) -> Self {
        let entry = |(address, weight)| Entry { address, weight, behind: 0 };
        Self(addresses.into_iter().filter(|(_, weight)| *weight > 0).map(entry).collect())
    }

    /// The order of the next answer. The one that is furthest behind comes first, and the others
    /// follow it round; with equal weights that turns the order by one.
    fn next(&mut self) -> Vec<Ipv4Addr> {
        let all = self.0.iter().map(|entry| i64::from(entry.weight)).sum::<i64>();
        let mut first = 0;
        for index in 0..self.0.len() {
            self.0[index].behind += i64::from(self.0[index].weight);
            if self.0[index].behind > self.0[first].behind {
                first = index;
            }
        }
        if let Some(entry) = self.0.get_mut(first) {
            entry.behind -= all;
        }
        let (before, from) = self.0.split_at(first);
        from.iter().chain(before).map(|entry| entry.address).collect()
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
    async fn addresses_come_first_as_often_as_their_weights_have_it() {
        let block = LoopbackBlock::claim().unwrap();
        let [a, b, c] = [1, 2, 3].map(|number| block.address(number));
        let server = DnsServer::start(block.address(10), NAME, Vec::new()).await.unwrap();
        server.set_weighted_addresses(vec![(a, 3), (b, 1), (c, 0)]);
        assert_eq!(server.addresses(), [(a, 3), (b, 1)]);
        let resolver = Resolver::new(server.address(), NAME).unwrap();
        for _ in 0..3 {
            for expected in [a, a, b, a] {
                assert_eq!(resolver.resolve().await.unwrap(), expected);
            }
        }
    }

    #[test]
    fn no_part_of_the_answers_is_far_from_the_weights() {
        let addresses =
            [1, 2, 4].map(|number| (Ipv4Addr::new(127, 0, 0, number), u32::from(number)));
        let mut rotation = Rotation::new(addresses.to_vec());
        let mut firsts = [0_u32; 3];
        for answers in 1..=700 {
            let order = rotation.next();
            assert_eq!(order.len(), 3);
            let first = addresses.iter().position(|(address, _)| *address == order[0]).unwrap();
            firsts[first] += 1;
            for (first, (_, weight)) in firsts.iter().zip(addresses) {
                let wanted = f64::from(answers * weight) / 7.0;
                assert!((f64::from(*first) - wanted).abs() < 1.0, "{firsts:?} of {answers}");
            }
        }
        assert_eq!(Rotation::default().next(), [] as [Ipv4Addr; 0]);
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
