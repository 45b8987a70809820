//! How many connections per second a load balancer shall close, and this node's part of it.
//!
//! A policy names a rate for a load balancer as a whole; a node takes its
//! [share](crate::request_share) of it. Nodes do not talk to each other: since their shares add
//! up to one, their rates add up to the rate wanted (US 9,432,305; design, sections 2 and 5).

use std::time::Duration;

use crate::rebalance::Rebalance;
use crate::request_share::Portion;

/// A rate in events per second, from 0 to [`PerSecond::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct PerSecond(f64);

/// The policy that gives the close rate wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CloseRate {
    /// A constant for each load balancer, whatever its load.
    PerSecond(PerSecond),
    /// The rate that renews every connection about once in this time: `open / age`.
    MeanConnectionAge(Duration),
    /// Only what it takes to balance the loads of a pool.
    Rebalance(Rebalance),
}

/// The close rate wanted of one load balancer for a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Demand {
    /// So many closes of the load balancer as a whole.
    Rate(PerSecond),
    /// Each connection is closed with this chance per second; finite and not negative.
    Hazard(f64),
}

/// What a node knows of one VM of a load balancer, for a stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct VmTraffic {
    /// What the requests handled here in that time are worth.
    pub portion: Portion,
    /// Downstream connections open in that VM, as last stamped.
    pub open: u64,
}

/// Where the share comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// Measured from the stamps.
    #[default]
    Measured,
    /// The same for each of so many node VMs.
    Fixed {
        /// Node VMs (nodes times worker threads) among which requests are spread; at least 1.
        vms: u32,
    },
}

// === impl PerSecond ===

impl PerSecond {
    /// No events.
    pub const ZERO: Self = Self(0.0);

    /// More than anybody has connections: sums and products of rates and times stay finite.
    pub const MAX: Self = Self(1e15);

    /// `rate` events per second; `None` if that is negative, above [`MAX`](Self::MAX) or no number.
    #[must_use]
    pub fn new(rate: f64) -> Option<Self> {
        (0.0..=Self::MAX.0).contains(&rate).then_some(Self(rate))
    }

    /// Events per second.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Events expected in `time`.
    #[must_use]
    pub fn over(self, time: Duration) -> f64 {
        self.0 * time.as_secs_f64()
    }
}

impl std::iter::Sum for PerSecond {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        Self(rates.map(Self::get).sum::<f64>().min(Self::MAX.0))
    }
}

// === impl Demand ===

impl Demand {
    /// Renews each connection about once in `age`.
    #[must_use]
    pub fn renewal(age: Duration) -> Self {
        let hazard = 1.0 / age.as_secs_f64();
        Self::Hazard(if hazard.is_finite() { hazard } else { 0.0 })
    }

    /// The closes this node owes a load balancer for the traffic of its VMs in a time of
    /// `elapsed`.
    ///
    /// A rate for the load balancer as a whole is taken by the share of *its* requests; what a
    /// VM reports of itself (`open`) by the share of *that VM's*. Both are exact, also
    /// for a node that hears from some of the VMs only.
    #[must_use]
    pub fn closes_owed(
        &self,
        share: Share,
        elapsed: Duration,
        vms: impl IntoIterator<Item = VmTraffic>,
    ) -> f64 {
        let fixed = |vms: u32| elapsed / vms.max(1);
        let mut vms = vms.into_iter().peekable();
        match (self, share) {
            (Self::Rate(rate), Share::Measured) => {
                vms.map(|vm| rate.over(vm.portion.of_load_balancer)).sum()
            }
            (Self::Rate(_), Share::Fixed { .. }) if vms.peek().is_none() => 0.0,
            (Self::Rate(rate), Share::Fixed { vms }) => rate.over(fixed(vms)),
            (Self::Hazard(hazard), Share::Measured) => {
                vms.map(|vm| closes(vm.open, *hazard).over(vm.portion.of_vm)).sum()
            }
            (Self::Hazard(hazard), Share::Fixed { vms: count }) => {
                vms.map(|vm| closes(vm.open, *hazard).over(fixed(count))).sum()
            }
        }
    }
}

/// The rate that closes `open` connections at `hazard` each.
fn closes(open: u64, hazard: f64) -> PerSecond {
    PerSecond::new(open as f64 * hazard).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What a node sees of a VM in a second: its parts of the VM's and of all requests.
    fn vm(of_vm: f64, of_load_balancer: f64, open: u64) -> VmTraffic {
        let portion = Portion {
            of_vm: SECOND.mul_f64(of_vm),
            of_load_balancer: SECOND.mul_f64(of_load_balancer),
        };
        VmTraffic { portion, open }
    }

    fn per_second(rate: f64) -> Demand {
        Demand::Rate(PerSecond::new(rate).unwrap())
    }

    fn assert_near(actual: f64, expected: f64) {
        assert!((actual / expected - 1.0).abs() < 1e-6, "{actual}, not {expected}");
    }

    #[test]
    fn rates_are_finite_and_not_negative() {
        for rate in [-1.0, f64::NAN, f64::INFINITY, f64::MAX] {
            assert_eq!(PerSecond::new(rate), None);
        }
        assert_eq!([PerSecond::MAX; 2].into_iter().sum::<PerSecond>(), PerSecond::MAX);
    }

    #[test]
    fn nodes_together_close_at_the_rate_wanted_however_they_share_the_requests() {
        // Two VMs of an edge, with 70 % and 30 % of its requests and 400 and 100 connections,
        // and three node VMs. The first hears from one VM only, as happens with one HTTP/2
        // upstream connection for each worker.
        let seen = [
            vec![vm(0.6, 0.42, 400)],
            vec![vm(0.3, 0.21, 400), vm(0.4, 0.12, 100)],
            vec![vm(0.1, 0.07, 400), vm(0.6, 0.18, 100)],
        ];
        let total = |rate: Demand| -> f64 {
            seen.iter().map(|vms| rate.closes_owed(Share::Measured, SECOND, vms.clone())).sum()
        };
        assert_near(total(per_second(5.0)), 5.0);
        assert_near(total(Demand::renewal(Duration::from_secs(100))), 5.0);
    }

    #[test]
    fn fixed_shares_are_equal_parts() {
        let traffic = || vec![vm(0.9, 0.5, 60), vm(0.9, 0.5, 20)];
        let fixed = Share::Fixed { vms: 4 };
        assert_near(per_second(2.0).closes_owed(fixed, SECOND, traffic()), 0.5);
        let age = Demand::renewal(Duration::from_secs(10));
        assert_near(age.closes_owed(fixed, SECOND, traffic()), 2.0);
    }

    #[test]
    fn nothing_heard_means_nothing_to_close() {
        for share in [Share::Measured, Share::Fixed { vms: 2 }] {
            for rate in [per_second(5.0), Demand::renewal(SECOND)] {
                assert!(rate.closes_owed(share, SECOND, []).abs() < f64::EPSILON);
            }
        }
    }
}
