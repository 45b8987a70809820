//! How an edge counts and stamps its requests (design, sections 4 and 6).
//!
//! One [`Stamper`] is one VM's counter of one load balancer. VMs add what they counted to a
//! number they share, so that each stamp can tell the requests of the load balancer as a whole.

use std::borrow::Cow;
use std::time::Duration;

use crate::wire::{Position, Stamp};
use crate::{ConnectionId, VmToken};

/// Counts and stamps the requests that one VM of a load balancer forwards.
#[derive(Clone, Debug)]
pub struct Stamper {
    id: String,
    pool: String,
    weight: f64,
    vm: VmToken,
    seq: u64,
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
    /// Starts at 0 for the load balancer `id`.
    #[must_use]
    pub fn new(id: String, pool: String, weight: f64, vm: VmToken) -> Self {
        Self { id, pool, weight, vm, seq: 0, total: 0, pending: 0 }
    }

    /// Changes what the stamps say of pool and weight, as a new configuration may. Counting
    /// goes on.
    pub fn belongs_to(&mut self, pool: &str, weight: f64) {
        pool.clone_into(&mut self.pool);
        self.weight = weight;
    }

    /// Counts a request and writes its stamp to `to`, which is cleared first.
    pub fn stamp(&mut self, origin: Origin, to: &mut String) {
        to.clear();
        self.count(1, origin).write(to);
    }

    /// Counts `requests` that all go on now; gives the stamp of one of them, which stands for all.
    pub fn count(&mut self, requests: u64, origin: Origin) -> Stamp<'_> {
        self.seq = self.seq.wrapping_add(requests);
        self.pending = self.pending.wrapping_add(requests);
        let position = Position {
            vm: self.vm,
            seq: self.seq,
            total: self.total.wrapping_add(self.pending),
            connection: origin.connection,
            age: origin.age,
            open: origin.open,
            sample: requests,
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

    fn stamped(stamper: &mut Stamper) -> Position {
        let origin = Origin { connection: 3, age: Duration::from_secs(4), open: 5 };
        let mut header = "left over".to_owned();
        stamper.stamp(origin, &mut header);
        Stamp::parse(header.as_bytes()).unwrap().position.unwrap()
    }

    #[test]
    fn each_request_is_counted_once() {
        let mut stamper = Stamper::new("e".into(), "p".into(), 1.0, VmToken::from_random(1));
        assert_eq!(stamped(&mut stamper).seq, 1);
        let second = stamped(&mut stamper);
        assert_eq!((second.seq, second.total, second.connection, second.open), (2, 2, 3, 5));
    }

    #[test]
    fn the_total_of_all_vms_never_goes_back() {
        let token = VmToken::from_random;
        let mut one = Stamper::new("e".into(), "p".into(), 1.0, token(1));
        let mut other = Stamper::new("e".into(), "p".into(), 1.0, token(2));
        let (mut shared, mut last) = (0, 0);
        for round in 0..50 {
            stamped(&mut other);
            for stamper in [&mut one, &mut other] {
                if round % 3 == 0 {
                    let added = stamper.pending();
                    shared += added;
                    stamper.shared(added, shared);
                }
            }
            let position = stamped(&mut one);
            assert!(position.total > last, "{position:?} after {last}");
            last = position.total;
        }
        assert_eq!(shared + one.pending() + other.pending(), 100);
    }
}
