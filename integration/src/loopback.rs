//! Loopback addresses that belong to one harness alone.
//!
//! Edges of a fleet share one public port, as behind a DNS name they must, so
//! each needs an address of its own; and two harnesses may run at once (tests
//! in parallel, a demo beside them). On Linux all of 127.0.0.0/8 is local, so
//! there is room: a [`LoopbackBlock`] is one of 16,384 blocks `127.a.b.0/24` in
//! `127.64.0.0/10`, taken at random.
//!
//! Why two blocks cannot be the same: whoever takes one binds a listener on its
//! address 254 at a fixed port and keeps it. The kernel gives that socket to
//! one process only, and takes it back when the process ends, however it ends;
//! so there is nothing stale to clean up and no race between look and take.
//!
//! Why the public port is free: the kernel picked it for a listener on address
//! 253, which is kept too. Nobody but us binds addresses in the block, and a
//! stranger that wants the port on all addresses (`0.0.0.0`) is refused by the
//! kernel as long as ours is bound.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// Below the range that the kernel picks from (from 32768 on), so that no outgoing connection
/// happens to have it.
const CLAIM_PORT: u16 = 25_400;
const CLAIM_HOST: u8 = 254;
const PORT_HOST: u8 = 253;
/// With even a thousand blocks in use, so many misses in a row do not happen.
const ATTEMPTS: u32 = 64;

/// A block `127.a.b.0/24`, ours until it is dropped.
#[derive(Debug)]
pub struct LoopbackBlock {
    network: [u8; 3],
    port: u16,
    given: Mutex<HashSet<(Ipv4Addr, u16)>>,
    _claim: TcpListener,
    _port_claim: TcpListener,
}

// === impl LoopbackBlock ===

impl LoopbackBlock {
    /// Takes a block that no other harness has.
    ///
    /// # Errors
    ///
    /// The system does not let us bind addresses in 127.64.0.0/10 (only Linux does), or
    /// something listens on the claim port on all addresses.
    pub fn claim() -> Result<Self> {
        for _ in 0..ATTEMPTS {
            let network = [127, fastrand::u8(64..128), fastrand::u8(..)];
            if let Some(block) = Self::claim_network(network)? {
                return Ok(block);
            }
        }
        bail!(
            "none of {ATTEMPTS} blocks in 127.64.0.0/10 is free: something seems to listen on port \
             {CLAIM_PORT} on all addresses. `ss -ltnp` shows what; end it"
        )
    }

    /// `None` where another harness has it.
    fn claim_network(network: [u8; 3]) -> Result<Option<Self>> {
        let claim = match TcpListener::bind((host(network, CLAIM_HOST), CLAIM_PORT)) {
            Ok(listener) => listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Ok(None),
            Err(error) => {
                return Err(error).context(
                    "cannot bind an address in 127.64.0.0/10; the harness needs Linux, where all \
                     of 127.0.0.0/8 is local",
                );
            }
        };
        let port_claim = TcpListener::bind((host(network, PORT_HOST), 0))
            .context("the kernel has no free port to give")?;
        let port = port_claim.local_addr().context("no local address")?.port();
        Ok(Some(Self {
            network,
            port,
            given: Mutex::new(HashSet::new()),
            _claim: claim,
            _port_claim: port_claim,
        }))
    }

    /// The address `127.a.b.<host_number>`.
    ///
    /// # Panics
    ///
    /// For 0, 253, 254 and 255: the block keeps those.
    #[must_use]
    pub fn address(&self, host_number: u8) -> Ipv4Addr {
        assert!(
            (1..PORT_HOST).contains(&host_number),
            "a block has the addresses 1 to {}, not {host_number}",
            PORT_HOST - 1
        );
        host(self.network, host_number)
    }

    /// The one port for public listeners, free on every address of the block.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// [`Self::address`] and [`Self::port`] together.
    #[must_use]
    pub fn public(&self, host_number: u8) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(host_number), self.port)
    }

    /// A port that is free on `address` and was not given out before; for listeners whose port
    /// must be known before they start, such as Envoy's.
    ///
    /// It stays free until it is bound, since nobody but us binds addresses of the block.
    ///
    /// # Errors
    ///
    /// The kernel has no free port.
    pub fn free_port(&self, address: Ipv4Addr) -> Result<u16> {
        loop {
            let listener = TcpListener::bind((address, 0))
                .with_context(|| format!("the kernel has no free port on {address}"))?;
            let port = listener.local_addr().context("no local address")?.port();
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            if port != self.port && given.insert((address, port)) {
                return Ok(port);
            }
        }
    }
}

fn host([first, second, third]: [u8; 3], number: u8) -> Ipv4Addr {
    Ipv4Addr::new(first, second, third, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_belongs_to_one_harness_until_it_is_dropped() {
        let block = LoopbackBlock::claim().unwrap();
        let network = block.network;
        assert!((64..128).contains(&network[1]));
        assert!(LoopbackBlock::claim_network(network).unwrap().is_none());
        drop(block);
        assert!(LoopbackBlock::claim_network(network).unwrap().is_some());
    }

    #[test]
    fn the_public_port_is_free_on_every_address_and_kept_from_strangers() {
        let block = LoopbackBlock::claim().unwrap();
        let listeners: Vec<_> =
            (1..=252).map(|number| TcpListener::bind(block.public(number)).unwrap()).collect();
        assert_eq!(listeners.len(), 252);
        drop(listeners);
        let stranger = TcpListener::bind((Ipv4Addr::UNSPECIFIED, block.port()));
        assert_eq!(stranger.unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn free_ports_are_given_once() {
        let block = LoopbackBlock::claim().unwrap();
        let address = block.address(1);
        let ports: HashSet<_> = (0..500).map(|_| block.free_port(address).unwrap()).collect();
        assert_eq!(ports.len(), 500);
        assert!(!ports.contains(&block.port()));
    }

    #[test]
    #[should_panic(expected = "addresses 1 to 252")]
    fn the_addresses_of_the_block_itself_are_not_given() {
        let _ = LoopbackBlock::claim().unwrap().address(254);
    }
}
