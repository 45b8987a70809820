//! The end of an orderly run: nobody waits for ever, and the counters add up.

use std::time::Duration;

use super::{Edge, LIMIT};
use crate::host;

/// Longer than any patience that is configured.
const LONG: Duration = Duration::from_secs(70);

/// Longer than connections are remembered that are only known by their requests.
const VERY_LONG: Duration = Duration::from_mins(11);

/// Closes at once, as a part of a second's.
const BURST: f64 = 0.1;

const REFUSED: [&str; 4] =
    ["other_load_balancer", "unknown_connection", "already_closing", "over_limit"];

// === impl Edge ===

impl Edge<'_, '_> {
    pub(super) fn end(&mut self) {
        // From here on host calls do what they are for, whatever came before.
        host::with(|host| host.statuses.clear());
        self.tick_all();
        self.check_limit();
        for request in std::mem::take(&mut self.requests) {
            Self::delete(request.context);
        }
        for _ in 0..3 {
            self.pass(LONG);
        }
        for index in 0..self.connections.len() {
            self.sends_for_good(index);
        }
        while !self.connections.is_empty() {
            self.gone(0);
        }
        self.pass(VERY_LONG);
        self.pass(LONG);
        if !self.roots.is_empty() {
            Self::check_metrics();
        }
    }

    /// Whoever is not closed by now is served.
    fn sends_for_good(&mut self, index: usize) {
        let request = super::bytes::frame(1, 5, 0x7fff_fffd, b"one more");
        self.sends(index, &request, false);
        let held = self.connections[index].context.is_some_and(|context| {
            host::with(|host| {
                let stream = host.streams.get(&context);
                stream.is_some_and(|stream| {
                    !stream.downstream.is_empty() || !stream.let_through.is_empty()
                })
            })
        });
        assert!(!held, "a client waits for ever");
    }

    fn check_metrics() {
        let of = |name: &str| host::with(|host| host.metric(&format!("spillway.lb.{name}")));
        assert_eq!(of("connections_open"), 0);
        assert_eq!(of("connections_draining"), 0);
        if !super::all_well() {
            return;
        }
        assert_eq!(of("host_errors"), 0);
        let (enqueued, dequeued) = host::with(|host| (host.enqueued, host.dequeued));
        let refused: i64 = REFUSED.iter().map(|why| of(&format!("closes_refused.{why}"))).sum();
        let admitted = of("closes_admitted");
        assert_eq!(
            of("closes_requested") + dequeued.cast_signed(),
            admitted + of("closes_observed") + refused + enqueued.cast_signed(),
            "what is asked is done, refused or handed over"
        );
        let announced: i64 = ["http1", "http2", "native_drain"]
            .iter()
            .map(|way| of(&format!("closes_announced.{way}")))
            .sum();
        let over = announced + of("closes_lapsed");
        assert!(over <= admitted, "{over} of {admitted} closes");
        assert!(admitted <= over + of("closes_left_upgraded"), "{over} of {admitted} closes");
    }

    /// No node can have an edge close more than it is to.
    fn check_limit(&self) {
        if !self.limited {
            return;
        }
        let admitted = host::with(|host| host.metric("spillway.lb.closes_admitted"));
        let elapsed = Duration::from_nanos(self.process.lock().now_ns - self.started_ns);
        let most = (LIMIT * BURST).max(1.0) + LIMIT * elapsed.as_secs_f64();
        assert!(admitted as f64 <= most, "{admitted} closes in {elapsed:?}");
    }
}
