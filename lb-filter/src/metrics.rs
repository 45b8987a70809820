//! The metrics of an edge. Names and meanings are documented in docs/metrics.md.

use proxy_host::{Counter, Gauge};

use crate::vm::{Count, Vm};

/// Handles of the metrics; those the host would not define are left out.
pub(crate) struct Metrics {
    counters: Vec<Option<Counter>>,
    connections_open: Option<Gauge>,
    connections_draining: Option<Gauge>,
}

/// The counters, in the order of [`values`].
const NAMES: [&str; 27] = [
    "spillway.lb.connections_opened",
    "spillway.lb.requests",
    "spillway.lb.requests_stamped",
    "spillway.lb.requests_untracked",
    "spillway.lb.close_requests",
    "spillway.lb.close_requests_malformed",
    "spillway.lb.closes_requested",
    "spillway.lb.closes_admitted",
    "spillway.lb.closes_observed",
    "spillway.lb.closes_handed_over",
    "spillway.lb.closes_refused.other_load_balancer",
    "spillway.lb.closes_refused.unknown_connection",
    "spillway.lb.closes_refused.already_closing",
    "spillway.lb.closes_refused.over_limit",
    "spillway.lb.closes_announced.http1",
    "spillway.lb.closes_announced.http2",
    "spillway.lb.closes_announced.native_drain",
    "spillway.lb.closes_left_upgraded",
    "spillway.lb.closes_lapsed",
    "spillway.lb.announcements_deferred",
    "spillway.lb.farewells",
    "spillway.lb.connections_closed",
    "spillway.lb.connections_cut",
    "spillway.lb.closes_not_done",
    "spillway.lb.connections_without_http_role",
    "spillway.lb.streams_misplaced",
    "spillway.lb.host_errors",
];

fn values(vm: &Vm) -> [u64; NAMES.len()] {
    let opened = Count::default();
    opened.add(vm.connections.borrow().opened_in_all());
    let counters = &vm.counters;
    [
        &opened,
        &counters.requests,
        &counters.requests_stamped,
        &counters.requests_untracked,
        &counters.close_requests,
        &counters.close_requests_malformed,
        &counters.closes_requested,
        &counters.closes_admitted,
        &counters.closes_observed,
        &counters.closes_handed_over,
        &counters.closes_refused_other_load_balancer,
        &counters.closes_refused_unknown_connection,
        &counters.closes_refused_already_closing,
        &counters.closes_refused_over_limit,
        &counters.closes_announced_http1,
        &counters.closes_announced_http2,
        &counters.closes_native_drain,
        &counters.closes_left_upgraded,
        &counters.closes_lapsed,
        &counters.announcements_deferred,
        &counters.farewells,
        &counters.connections_closed,
        &counters.connections_cut,
        &counters.closes_not_done,
        &counters.connections_without_http_role,
        &counters.streams_misplaced,
        &counters.host_errors,
    ]
    .map(Count::get)
}

// === impl Metrics ===

impl Metrics {
    pub fn define() -> Self {
        Self {
            counters: NAMES.iter().map(|name| Counter::define(name).ok()).collect(),
            connections_open: Gauge::define("spillway.lb.connections_open").ok(),
            connections_draining: Gauge::define("spillway.lb.connections_draining").ok(),
        }
    }

    /// Hands over what changed. What the host does not take now it gets the next time.
    pub fn update(&mut self, vm: &Vm) {
        for (counter, total) in self.counters.iter_mut().zip(values(vm)) {
            if let Some(counter) = counter {
                let _ = counter.update(total);
            }
        }
        let open = vm.connections.borrow().open();
        let draining = vm.draining.borrow().len() as u64;
        for (gauge, number) in
            [(&mut self.connections_open, open), (&mut self.connections_draining, draining)]
        {
            if let Some(gauge) = gauge {
                let _ = gauge.update(i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
    }
}
