//! Metrics of which each load balancer has its own, with its id at the end of the name.
//!
//! Envoy keeps every metric that was ever defined, and each is a series of each node in Prometheus.
//! So only the load balancers heard of first have them, [`MOST`] in all.

use std::collections::BTreeMap;
use std::rc::Rc;

use proxy_host::{Counter, Gauge, Level};
use redistribution::node::Seen;

/// Load balancers that have metrics of their own. Where closing is futile, others may have that one.
const MOST: usize = 64;

/// The metrics of all of them, by load balancer.
#[derive(Default)]
pub(crate) struct LoadBalancers {
    seen: BTreeMap<Rc<str>, Metrics>,
    futile: BTreeMap<Rc<str>, Option<Gauge>>,
}

struct Metrics {
    requests: Option<Counter>,
    close_rate: Option<Gauge>,
    deviation: Option<Level>,
}

// === impl LoadBalancers ===

impl LoadBalancers {
    /// Hands over what changed of those that are `seen`, and which of them closing does not help.
    pub fn update<'n>(&mut self, seen: impl Iterator<Item = Seen<'n>>, futile: &[&Rc<str>]) {
        let mut there = BTreeMap::new();
        for load_balancer in seen {
            let id = load_balancer.id;
            if self.seen.len() < MOST && !self.seen.contains_key(id) {
                self.seen.insert(Rc::clone(id), Metrics::define(id));
                self.define_futile(id, MOST);
            }
            if self.seen.contains_key(id) {
                there.insert(id, load_balancer);
            }
        }
        for id in futile {
            self.define_futile(id, 2 * MOST);
        }
        for (id, metrics) in &mut self.seen {
            metrics.update(there.get(id));
        }
        for (id, gauge) in &mut self.futile {
            if let Some(gauge) = gauge {
                let _ = gauge.update(i64::from(futile.contains(&id)));
            }
        }
    }

    fn define_futile(&mut self, id: &Rc<str>, most: usize) {
        if self.futile.len() < most && !self.futile.contains_key(id) {
            let gauge = Gauge::define(&format!("spillway.node.futile.{id}")).ok();
            self.futile.insert(Rc::clone(id), gauge);
        }
    }
}

impl Drop for LoadBalancers {
    /// A filter that is gone must not leave its part in a gauge.
    fn drop(&mut self) {
        self.update(std::iter::empty(), &[]);
    }
}

// === impl Metrics ===

impl Metrics {
    fn define(id: &str) -> Self {
        let name = |what: &str| format!("spillway.node.load_balancer_{what}.{id}");
        Self {
            requests: Counter::define(&name("requests")).ok(),
            close_rate: Gauge::define(&name("close_rate_millis")).ok(),
            deviation: Level::define(&name("deviation_permille")).ok(),
        }
    }

    /// What the host does not take now it gets the next time. Of one that is not there any more only
    /// the count is left.
    fn update(&mut self, seen: Option<&Seen<'_>>) {
        if let (Some(requests), Some(seen)) = (&mut self.requests, seen) {
            let _ = requests.update(seen.requests);
        }
        if let Some(close_rate) = &mut self.close_rate {
            let rate = seen.map_or(0.0, |seen| seen.close_rate.get());
            let _ = close_rate.update(i64::try_from(thousandths(rate)).unwrap_or(i64::MAX));
        }
        if let Some(deviation) = &mut self.deviation {
            let _ = deviation.update(thousandths(seen.map_or(0.0, |seen| seen.deviation)));
        }
    }
}

/// Metrics are whole numbers; what they tell is often less than one.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub(crate) fn thousandths(value: f64) -> u64 {
    (value * 1000.0).round() as u64
}
