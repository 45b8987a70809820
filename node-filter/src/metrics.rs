//! The metrics of a node. Names and meanings are documented in docs/metrics.md.

use proxy_host::{Counter, Gauge, Level};
use redistribution::balance::Balance;
use redistribution::node::Node;

use crate::load_balancers::{LoadBalancers, thousandths};

/// Handles of the metrics; those the host would not define are left out.
pub(crate) struct Metrics {
    counters: Vec<Option<Counter>>,
    load_balancers: Option<Gauge>,
    close_rate: Option<Gauge>,
    pools: Option<Gauge>,
    pools_closing: Option<Gauge>,
    pools_futile: Option<Gauge>,
    pools_alone: Option<Gauge>,
    worst_deviation: Option<Level>,
    by_load_balancer: LoadBalancers,
}

/// The counters, in the order of [`values`].
const NAMES: [&str; 10] = [
    "spillway.node.requests_stamped",
    "spillway.node.requests_unstamped",
    "spillway.node.announcements",
    "spillway.node.stamps_malformed",
    "spillway.node.stamps_over_limit",
    "spillway.node.close_requests",
    "spillway.node.closes_requested",
    "spillway.node.closes_observed",
    "spillway.node.closes_lapsed",
    "spillway.node.host_errors",
];

fn values(node: &Node, host_errors: u64) -> [u64; NAMES.len()] {
    let counters = node.counters();
    [
        counters.requests_stamped,
        counters.requests_unstamped,
        counters.announcements,
        counters.stamps_malformed,
        counters.stamps_over_limit,
        counters.close_requests,
        counters.closes_requested,
        counters.closes_observed,
        counters.closes_lapsed,
        host_errors,
    ]
}

// === impl Metrics ===

impl Metrics {
    pub fn define() -> Self {
        Self {
            counters: NAMES.iter().map(|name| Counter::define(name).ok()).collect(),
            load_balancers: Gauge::define("spillway.node.load_balancers").ok(),
            close_rate: Gauge::define("spillway.node.close_rate_millis").ok(),
            pools: Gauge::define("spillway.node.pools").ok(),
            pools_closing: Gauge::define("spillway.node.pools_closing").ok(),
            pools_futile: Gauge::define("spillway.node.pools_futile").ok(),
            pools_alone: Gauge::define("spillway.node.pools_alone").ok(),
            worst_deviation: Level::define("spillway.node.worst_deviation_permille").ok(),
            by_load_balancer: LoadBalancers::default(),
        }
    }

    /// Hands over what changed. What the host does not take now it gets the next time.
    pub fn update(&mut self, node: &Node, host_errors: u64) {
        for (counter, total) in self.counters.iter_mut().zip(values(node, host_errors)) {
            if let Some(counter) = counter {
                let _ = counter.update(total);
            }
        }
        let (mut pools, mut closing, mut futile, mut alone) = (0, 0, Vec::new(), 0);
        for balance in node.balances() {
            pools += 1;
            match balance {
                Balance::Even => {}
                Balance::Closing => closing += 1,
                Balance::Futile(lb) => futile.push(lb),
                Balance::Alone(_) => alone += 1,
            }
        }
        for (gauge, number) in [
            (&mut self.load_balancers, node.load_balancers()),
            (&mut self.pools, pools),
            (&mut self.pools_closing, closing + futile.len()),
            (&mut self.pools_futile, futile.len()),
            (&mut self.pools_alone, alone),
        ] {
            if let Some(gauge) = gauge {
                let _ = gauge.update(i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
        if let Some(gauge) = &mut self.close_rate {
            let rate = thousandths(node.close_rate().get());
            let _ = gauge.update(i64::try_from(rate).unwrap_or(i64::MAX));
        }
        if let Some(level) = &mut self.worst_deviation {
            let worst = node.seen().map(|seen| seen.deviation).fold(0.0, f64::max);
            let _ = level.update(thousandths(worst));
        }
        self.by_load_balancer.update(node, &futile);
    }
}

impl Drop for Metrics {
    /// A filter that is gone must not leave its part in a gauge.
    fn drop(&mut self) {
        for gauge in [
            &mut self.load_balancers,
            &mut self.close_rate,
            &mut self.pools,
            &mut self.pools_closing,
            &mut self.pools_futile,
            &mut self.pools_alone,
        ]
        .into_iter()
        .flatten()
        {
            let _ = gauge.update(0);
        }
        if let Some(level) = &mut self.worst_deviation {
            let _ = level.update(0);
        }
    }
}
