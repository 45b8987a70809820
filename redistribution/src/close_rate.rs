//! How many connections per second a load balancer shall close, and this node's part of it.
//!
//! A policy names a rate for a load balancer as a whole; a node takes its
//! [share](crate::request_share) of it. Nodes do not talk to each other: since their shares add
//! up to one, their rates add up to the rate wanted (US 9,432,305; design, sections 2 and 5).

use std::time::Duration;

use crate::request_share::RequestShare;

/// A rate in events per second; finite and not negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct PerSecond(f64);

/// The policy that gives the close rate wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CloseRate {
    /// A constant for each load balancer, whatever its load.
    PerSecond(PerSecond),
    /// The rate that renews every connection about once in this time: `open / age`.
    MeanConnectionAge(Duration),
}

/// What a node knows of one VM of a load balancer.
#[derive(Clone, Copy, Debug)]
pub struct VmTraffic<'a> {
    /// The measured share; for [`Share::Fixed`] only its existence matters.
    pub share: &'a RequestShare,
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

    /// `rate` events per second; `None` if that is negative or not finite.
    #[must_use]
    pub fn new(rate: f64) -> Option<Self> {
        (rate.is_finite() && rate >= 0.0).then_some(Self(rate))
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
        Self(rates.map(Self::get).sum())
    }
}

// === impl CloseRate ===

impl CloseRate {
    /// This node's part of a load balancer's close rate: the sum over the VMs it hears from.
    ///
    /// A rate for the load balancer as a whole is taken by the share of *its* requests; what a
    /// VM reports of itself (`open`) by the share of *that VM's*. Both are exact, also
    /// for a node that hears from some of the VMs only.
    #[must_use]
    pub fn of_node<'a>(
        &self,
        share: Share,
        vms: impl IntoIterator<Item = VmTraffic<'a>>,
    ) -> PerSecond {
        let mut vms = vms.into_iter().peekable();
        if vms.peek().is_none() {
            return PerSecond::ZERO;
        }
        match (self, share) {
            (Self::PerSecond(rate), Share::Measured) => {
                let share: f64 = vms.filter_map(|vm| vm.share.of_load_balancer()).sum();
                PerSecond(rate.0 * share.min(1.0))
            }
            (Self::PerSecond(rate), Share::Fixed { vms }) => PerSecond(rate.0 / f64::from(vms)),
            (Self::MeanConnectionAge(age), Share::Measured) => {
                vms.filter_map(|vm| Some(renewal(vm.open, *age, vm.share.of_vm()?))).sum()
            }
            (Self::MeanConnectionAge(age), Share::Fixed { vms: count }) => {
                vms.map(|vm| renewal(vm.open, *age, 1.0 / f64::from(count))).sum()
            }
        }
    }
}

/// The rate that renews `open` connections once in `age`, times `share`.
fn renewal(open: u64, age: Duration, share: f64) -> PerSecond {
    PerSecond::new(open as f64 / age.as_secs_f64() * share).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::wire::Position;
    use crate::{Timestamp, VmToken};

    /// A VM that has forwarded `seq` of its load balancer's `total` requests, `own` of them here.
    fn share(own: u64, seq: u64, total: u64) -> RequestShare {
        let at = |part: u64| Timestamp::from_nanos(part * 1_000_000_000 / own);
        let position = |part: u64| Position {
            vm: VmToken::from_random(1),
            seq: part * seq / own,
            total: part * total / own,
            connection: 0,
            age: Duration::ZERO,
            open: 0,
        };
        let mut share = RequestShare::new(Duration::from_secs(10), &position(0), at(0));
        for part in 1..=own {
            share.observe(&position(part), at(part));
        }
        share
    }

    fn per_second(rate: f64) -> CloseRate {
        CloseRate::PerSecond(PerSecond::new(rate).unwrap())
    }

    fn near(actual: PerSecond, expected: f64) {
        assert!((actual.get() / expected - 1.0).abs() < 0.01, "{actual:?}, not {expected}");
    }

    #[test]
    fn rates_are_finite_and_not_negative() {
        for rate in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(PerSecond::new(rate), None);
        }
    }

    #[test]
    fn nodes_together_close_at_the_rate_wanted_however_they_share_the_requests() {
        // Two VMs of an edge (7000 and 3000 requests), three node VMs. The first hears from one
        // VM only, as happens with one HTTP/2 upstream connection for each worker.
        let seen: [&[(u64, u64)]; 3] =
            [&[(5000, 7000)], &[(1500, 7000), (1000, 3000)], &[(500, 7000), (2000, 3000)]];
        let total: PerSecond = seen
            .iter()
            .map(|vms| {
                let shares: Vec<_> =
                    vms.iter().map(|&(own, seq)| share(own, seq, 10_000)).collect();
                let traffic = shares.iter().map(|share| VmTraffic { share, open: 0 });
                per_second(5.0).of_node(Share::Measured, traffic)
            })
            .sum();
        near(total, 5.0);
    }

    #[test]
    fn mean_connection_age_renews_what_each_vm_has_open() {
        let age = CloseRate::MeanConnectionAge(Duration::from_secs(100));
        let (one, other) = (share(1000, 2000, 6000), share(1000, 4000, 6000));
        let vms = [VmTraffic { share: &one, open: 400 }, VmTraffic { share: &other, open: 800 }];
        near(age.of_node(Share::Measured, vms), (400.0 / 2.0 + 800.0 / 4.0) / 100.0);
    }

    #[test]
    fn fixed_shares_are_equal_parts() {
        let one = share(10, 20, 20);
        let traffic = || [VmTraffic { share: &one, open: 60 }];
        let fixed = Share::Fixed { vms: 4 };
        near(per_second(2.0).of_node(fixed, traffic()), 0.5);
        let age = CloseRate::MeanConnectionAge(Duration::from_secs(10));
        near(age.of_node(fixed, traffic()), 1.5);
    }

    #[test]
    fn nothing_heard_means_nothing_to_close() {
        for share in [Share::Measured, Share::Fixed { vms: 2 }] {
            assert_eq!(per_second(5.0).of_node(share, []), PerSecond::ZERO);
        }
    }
}
