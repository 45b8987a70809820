//! What the demo plays: the fleet, its clients, its policy, and how long each part takes.
//!
//! All numbers that shape a run stand here. They are chosen so that luck decides nothing: with
//! [`CLIENTS`] clients of nearly equal pace, spread by rotating DNS, what chance leaves between
//! edges is a third of the band that counts as even, and two cores are busy for less than half
//! of their time.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{LongLivedClient, Pace, Protocol};
use crate::fleet::{FleetSpec, NAME};
use crate::run::{ClosesOf, Plan};

/// Edges at the start; one more joins.
pub(super) const EDGES: usize = 2;
/// Nodes behind them.
pub(super) const NODES: usize = 4;
/// Clients, each with one connection.
pub(super) const CLIENTS: usize = 600;
/// Requests per second of the slowest and of the fastest client; the others lie evenly between.
pub(super) const PACES_PER_SECOND: (f64, f64) = (1.0, 2.0);
/// Streams at once on an HTTP/2 connection.
const HTTP2_STREAMS: u32 = 3;

/// The clients start within this time.
const START_SPREAD: Duration = Duration::from_secs(1);
/// From the first client to the start of the third edge.
const WARM_UP: Duration = Duration::from_secs(15);
/// "Stays so": the load has to be even for so long at the end.
const SETTLED_FOR: Duration = Duration::from_secs(20);
/// After so long from the join the run ends, settled or not.
pub(super) const SETTLE_BOUND: Duration = Duration::from_secs(80);
/// An edge closes no more connections per second, whatever the nodes ask for.
const MAX_CLOSES_PER_SECOND: u32 = 40;

/// The close-rate policy of the nodes, as their filter's configuration has it.
pub(super) fn close_rate() -> Value {
    json!({ "rebalance": { "settle_time": "40s" } })
}

/// The course.
pub(super) fn plan() -> Plan {
    Plan {
        title: "Spillway demo".to_owned(),
        policy: policy_in_words(),
        clients: CLIENTS,
        client,
        start_spread: START_SPREAD,
        warm_up: WARM_UP,
        settled_for: SETTLED_FOR,
        settle_bound: SETTLE_BOUND,
        after: Duration::ZERO,
        closes_of: ClosesOf::Filters,
    }
}

/// The fleet at the start.
pub(super) fn fleet() -> FleetSpec {
    FleetSpec {
        edges: EDGES,
        node_weights: vec![1; NODES],
        http: json!({ "max_closes_per_second": MAX_CLOSES_PER_SECOND }),
        node: json!({
            "close_rate": close_rate(),
            "min_connection_age": "2s",
        }),
        ..FleetSpec::default()
    }
}

/// The client with this number, from 0: HTTP/1.1 and HTTP/2 in turn, each with its own pace.
pub(super) fn client(number: usize) -> LongLivedClient {
    let protocol = if number.is_multiple_of(2) {
        Protocol::Http1
    } else {
        Protocol::Http2 { concurrent_streams: HTTP2_STREAMS }
    };
    let (slowest, fastest) = PACES_PER_SECOND;
    let part = number as f64 / (CLIENTS - 1) as f64;
    let pace = Pace::PerSecond(slowest + (fastest - slowest) * part);
    LongLivedClient::new(protocol, pace, NAME.trim_end_matches('.'))
}

/// The policy in words, such as `mean_connection_age 12s`.
pub(super) fn policy_in_words() -> String {
    in_words(&close_rate())
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name} {}", in_words(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_words() {
        assert_eq!(in_words(&json!({ "mean_connection_age": "12s" })), "mean_connection_age 12s");
        let rebalance = json!({ "rebalance": { "settle_time": "30s", "tolerance": 0.1 } });
        assert_eq!(in_words(&rebalance), "rebalance settle_time 30s, tolerance 0.1");
    }

    #[test]
    fn paces_are_spread_over_their_range_in_both_protocols() {
        let (first, last) = (client(0), client(CLIENTS - 1));
        assert_eq!(first.pace, Pace::PerSecond(PACES_PER_SECOND.0));
        assert_eq!(last.pace, Pace::PerSecond(PACES_PER_SECOND.1));
        assert_eq!(first.protocol, Protocol::Http1);
        assert!(matches!(last.protocol, Protocol::Http2 { .. }));
    }
}
