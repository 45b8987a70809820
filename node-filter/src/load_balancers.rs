//! Metrics of which each load balancer has its own, with its id at the end of the name.
//!
//! Envoy keeps every metric that was ever defined, and each is a series of each node in Prometheus.
//! So only the load balancers heard of first have them, [`MOST`] in all.

use std::rc::Rc;

use proxy_host::{Counter, Gauge, Level};
use redistribution::node::{Node, Seen};

/// Load balancers that have metrics of their own. Where closing is futile, others may have that one.
const MOST: usize = 64;

/// The metrics of all of them, sorted by id.
#[derive(Default)]
pub(crate) struct LoadBalancers {
    seen: Vec<Metrics>,
    futile: Vec<Futile>,
}

struct Metrics {
    id: Rc<str>,
    requests: Option<Counter>,
    close_rate: Option<Gauge>,
    deviation: Option<Level>,
}

/// Whether closing does not help one.
struct Futile {
    id: Rc<str>,
    gauge: Option<Gauge>,
}

// === impl LoadBalancers ===

impl LoadBalancers {
    /// Hands over what changed of those that `node` sees, and which of them closing does not help.
    pub fn update(&mut self, node: &Node, futile: &[&Rc<str>]) {
        for Seen { id, .. } in node.seen() {
            if self.seen.len() >= MOST {
                break;
            }
            if let Err(place) = self.seen.binary_search_by(|known| known.id.cmp(id)) {
                self.seen.insert(place, Metrics::define(id));
                self.define_futile(id, MOST);
            }
        }
        for id in futile {
            self.define_futile(id, 2 * MOST);
        }
        for metrics in &mut self.seen {
            let seen = node.see(&metrics.id);
            metrics.update(seen.as_ref());
        }
        for known in &mut self.futile {
            known.update(futile.contains(&&known.id));
        }
    }

    fn define_futile(&mut self, id: &Rc<str>, most: usize) {
        let place = self.futile.binary_search_by(|known| known.id.cmp(id));
        if let Err(place) = place
            && self.futile.len() < most
        {
            let gauge = Gauge::define(&format!("spillway.node.futile.{id}")).ok();
            self.futile.insert(place, Futile { id: Rc::clone(id), gauge });
        }
    }
}

impl Drop for LoadBalancers {
    /// A filter that is gone must not leave its part in a gauge.
    fn drop(&mut self) {
        for metrics in &mut self.seen {
            metrics.update(None);
        }
        for known in &mut self.futile {
            known.update(false);
        }
    }
}

// === impl Futile ===

impl Futile {
    fn update(&mut self, futile: bool) {
        if let Some(gauge) = &mut self.gauge {
            let _ = gauge.update(i64::from(futile));
        }
    }
}

// === impl Metrics ===

impl Metrics {
    fn define(id: &Rc<str>) -> Self {
        let name = |what: &str| format!("spillway.node.load_balancer_{what}.{id}");
        Self {
            id: Rc::clone(id),
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
