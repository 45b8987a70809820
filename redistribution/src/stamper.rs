//! How an edge counts and stamps its requests (design, sections 4 and 6).
//!
//! One [`Stamper`] is one VM's counter of one load balancer. VMs add what they counted to a
//! number they share, so that each stamp can tell the requests of the load balancer as a whole.
//! Where requests are many it stamps a sample of them ([`Sampler`]).

use std::borrow::Cow;
use std::time::Duration;

use crate::close_rate::PerSecond;
use crate::sampler::Sampler;
use crate::wire::{Position, Stamp};
use crate::{ConnectionId, Timestamp, VmToken};

/// Counts and stamps the requests that one VM of a load balancer forwards.
#[derive(Clone, Debug)]
pub struct Stamper {
    id: String,
    pool: String,
    weight: f64,
    vm: VmToken,
    sampler: Sampler,
    seq: u64,
    /// Requests since the last stamp.
    unstamped: u64,
    /// The shared total when this VM last added to it, and what it has counted since.
    total: u64,
    pending: u64,
}

/// What is known of the connection a request came on.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The downstream connection.
    pub connection: ConnectionId,
    /// Time since it opened or was first seen.
    pub age: Duration,
    /// Downstream connections open in this VM.
    pub open: u64,
}

// === impl Stamper ===

impl Stamper {
    /// Starts at 0 for the load balancer `id`, with `sampler` to choose which requests are stamped.
    #[must_use]
    pub fn new(id: String, pool: String, weight: f64, vm: VmToken, sampler: Sampler) -> Self {
        Self { id, pool, weight, vm, sampler, seq: 0, unstamped: 0, total: 0, pending: 0 }
    }

    /// Changes what the stamps say of pool and weight, and how many there are at most, as a new
    /// configuration may. Counting goes on.
    pub fn configure(&mut self, pool: &str, weight: f64, max_stamps: PerSecond) {
        pool.clone_into(&mut self.pool);
        self.weight = weight;
        self.sampler.set_max_per_second(max_stamps);
    }

    /// Counts a request; true if it is to have a stamp.
    pub fn on_request(&mut self) -> bool {
        self.count(1);
        self.sampler.on_request()
    }

    /// Lets time pass: call it every tenth of a second or so.
    pub fn on_tick(&mut self, now: Timestamp) {
        self.sampler.on_tick(now);
    }

    /// Whether some requests go without a stamp.
    #[must_use]
    pub fn leaves_some_out(&self) -> bool {
        self.sampler.leaves_some_out()
    }

    /// Counts requests that all go on now.
    pub fn count(&mut self, requests: u64) {
        self.seq = self.seq.wrapping_add(requests);
        self.unstamped = self.unstamped.wrapping_add(requests);
        self.pending = self.pending.wrapping_add(requests);
    }

    /// The stamp of the request counted last. It stands for all that were counted since the last
    /// stamp.
    pub fn stamp(&mut self, origin: Origin) -> Stamp<'_> {
        let sample = std::mem::take(&mut self.unstamped).max(1);
        let position = Position {
            vm: self.vm,
            seq: self.seq,
            total: self.total.wrapping_add(self.pending),
            connection: origin.connection,
            age: origin.age,
            open: origin.open,
            sample,
        };
        Stamp {
            id: Cow::Borrowed(&self.id),
            pool: Cow::Borrowed(&self.pool),
            weight: self.weight,
            position: Some(position),
        }
    }

    /// Requests counted since the last [`shared`](Self::shared), to be added to the shared total.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Takes in that `added` of the pending requests are now part of a shared total of `total`.
    pub fn shared(&mut self, added: u64, total: u64) {
        self.pending = self.pending.saturating_sub(added);
        self.total = total;
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn stamper(vm: u64, max_stamps: f64) -> Stamper {
        let sampler = Sampler::new(PerSecond::new(max_stamps).unwrap(), vm);
        Stamper::new("e".into(), "p".into(), 1.0, VmToken::from_random(vm), sampler)
    }

    /// What the next request is stamped with, if it is.
    fn next(stamper: &mut Stamper) -> Option<Position> {
        let origin = Origin { connection: 3, age: Duration::from_secs(4), open: 5 };
        if !stamper.on_request() {
            return None;
        }
        let mut header = String::new();
        stamper.stamp(origin).write(&mut header);
        Stamp::parse(header.as_bytes()).unwrap().position
    }

    #[test]
    fn each_request_is_counted_once() {
        let mut stamper = stamper(1, 1000.0);
        assert_eq!(next(&mut stamper).unwrap().seq, 1);
        let second = next(&mut stamper).unwrap();
        assert_eq!((second.seq, second.total, second.connection, second.open), (2, 2, 3, 5));
        assert_eq!(second.sample, 1);
    }

    #[test]
    fn the_total_of_all_vms_never_goes_back() {
        let (mut one, mut other) = (stamper(1, 1000.0), stamper(2, 1000.0));
        let (mut shared, mut last) = (0, 0);
        for round in 0..50 {
            next(&mut other);
            for stamper in [&mut one, &mut other] {
                if round % 3 == 0 {
                    let added = stamper.pending();
                    shared += added;
                    stamper.shared(added, shared);
                }
            }
            let position = next(&mut one).unwrap();
            assert!(position.total > last, "{position:?} after {last}");
            last = position.total;
        }
        assert_eq!(shared + one.pending() + other.pending(), 100);
    }

    #[test]
    fn stamps_stand_for_all_requests_also_where_few_have_one() {
        let mut stamper = stamper(1, 100.0);
        let (mut requests, mut stamps, mut stood_for) = (0, 0, 0);
        for tick in 0..100 {
            stamper.on_tick(Timestamp::from_nanos(tick * 100_000_000));
            for _ in 0..500 {
                requests += 1;
                if let Some(position) = next(&mut stamper) {
                    stamps += 1;
                    stood_for += position.sample;
                    assert_eq!((position.seq, stood_for), (requests, requests));
                }
            }
        }
        assert!(stamper.leaves_some_out());
        assert!(stamps < requests / 10, "{stamps} stamps for {requests} requests");
    }
}
