//! The contenders: ways to have connections closed, as configurations of the same fleet.
//!
//! Those of Envoy run without Spillway's filters; all else is the same for all.

use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::parameters::{
    chance_per_response, closes_per_second, fixed_age, least_age, random_age,
    requests_per_connection, share_window, whole_millis,
};
use crate::client::{LongLivedClient, Pace, Protocol};
use crate::fleet::{FleetSpec, NAME};

/// Edges at the start; one more joins.
pub(super) const EDGES: usize = 2;
/// Nodes behind them.
pub(super) const NODES: usize = 4;
/// The same for every client: a limit of requests is then the same as one of time.
pub(super) const REQUESTS_PER_SECOND: f64 = 1.0;
/// Streams at once on an HTTP/2 connection.
const HTTP2_STREAMS: u32 = 3;
/// How much of its duration Envoy may add to it at random, as a part.
const JITTER: f64 = 0.2;
/// Spillway leaves younger connections alone, where the least age is not what it goes by.
const MIN_CONNECTION_AGE: Duration = Duration::from_secs(2);

/// A way to have connections closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Contender {
    /// Connections stay where they are.
    Nothing,
    /// Envoy closes a connection of this age.
    MaxConnectionDuration,
    /// The same, extended for each connection by a random part of it (Envoy 1.39 or newer).
    MaxConnectionDurationJitter,
    /// Envoy closes a connection after so many requests.
    MaxRequestsPerConnection,
    /// A Lua filter closes a connection with a fixed chance at each response (Envoy 1.37 or newer).
    ChancePerResponse,
    /// Spillway: so many closes a second at each edge, and none of a younger connection than that.
    PerSecond,
    /// Spillway: each connection about once in this time.
    MeanConnectionAge,
    /// Spillway: only what balance needs.
    Rebalance,
}

/// What the contenders meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions {
    /// Clients with one connection each.
    pub clients: usize,
    /// The time in which a new edge is to get its part.
    pub settle_time: Duration,
}

/// A contender with its parameters.
#[derive(Debug)]
pub(super) struct Setup {
    /// The parameters in words.
    pub parameters: String,
    /// The fleet.
    pub fleet: FleetSpec,
}

// === impl Contender ===

impl Contender {
    /// What it is called, on the command line as in results.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it takes to settle in the time that all have.
    pub(super) fn setup(self, conditions: Conditions) -> Setup {
        let Conditions { clients, settle_time } = conditions;
        match self {
            Self::Nothing => of_envoy("no limit".to_owned(), &json!({})),
            Self::MaxConnectionDuration => {
                let age = seconds(fixed_age(settle_time));
                of_envoy(age.clone(), &json!({ "max_connection_duration": age }))
            }
            Self::MaxConnectionDurationJitter => {
                let age = seconds(least_age(settle_time, JITTER));
                let percent = JITTER * 100.0;
                let options = json!({
                    "max_connection_duration": age,
                    "max_connection_duration_jitter": { "value": percent },
                });
                of_envoy(format!("{age}, jitter {percent:.0} %"), &options)
            }
            Self::MaxRequestsPerConnection => {
                let requests = requests_per_connection(settle_time, REQUESTS_PER_SECOND);
                let options = json!({ "max_requests_per_connection": requests });
                of_envoy(format!("{requests} requests"), &options)
            }
            Self::ChancePerResponse => {
                let chance = chance_per_response(settle_time, REQUESTS_PER_SECOND);
                let setup = of_envoy(format!("{:.2} %", chance * 100.0), &json!({}));
                let fleet = FleetSpec { edge_lua: Some(closing_by_chance(chance)), ..setup.fleet };
                Setup { fleet, ..setup }
            }
            Self::PerSecond => {
                let rate = closes_per_second(settle_time, clients, EDGES);
                let age = fixed_age(settle_time);
                let parameters = format!("{rate}/s, min_connection_age {}", seconds(age));
                of_spillway(parameters, &json!({ "per_second": rate }), age, conditions)
            }
            Self::MeanConnectionAge => {
                let age = random_age(settle_time);
                let rate = json!({ "mean_connection_age": in_json(age) });
                of_spillway(seconds(age), &rate, Duration::ZERO, conditions)
            }
            Self::Rebalance => {
                let rate = json!({ "rebalance": {
                    "settle_time": in_json(settle_time),
                    "max_per_second": clients,
                } });
                let parameters = format!("settle_time {}", seconds(settle_time));
                of_spillway(parameters, &rate, MIN_CONNECTION_AGE, conditions)
            }
        }
    }
}

/// The client with this number, from 0: HTTP/1.1 and HTTP/2 in turn, all with the same pace.
pub(super) fn client(number: usize) -> LongLivedClient {
    let protocol = if number.is_multiple_of(2) {
        Protocol::Http1
    } else {
        Protocol::Http2 { concurrent_streams: HTTP2_STREAMS }
    };
    let pace = Pace::PerSecond(REQUESTS_PER_SECOND);
    LongLivedClient::new(protocol, pace, NAME.trim_end_matches('.'))
}

fn of_envoy(parameters: String, options: &Value) -> Setup {
    let fleet = FleetSpec {
        edge_filters: false,
        node_filter: false,
        edge_manager: json!({ "common_http_protocol_options": options }),
        ..plain()
    };
    Setup { parameters, fleet }
}

fn of_spillway(
    parameters: String,
    close_rate: &Value,
    min_connection_age: Duration,
    conditions: Conditions,
) -> Setup {
    let node = json!({
        "close_rate": close_rate,
        "min_connection_age": in_json(min_connection_age),
        "share_window": in_json(share_window(conditions.settle_time)),
    });
    // As many as there are: no limit decides anything here.
    let http = json!({ "max_closes_per_second": conditions.clients });
    Setup { parameters, fleet: FleetSpec { http, node, ..plain() } }
}

/// Edges speak HTTP/2 to the nodes. Over HTTP/1, a moment in which a busy machine has no time for an
/// edge makes it open hundreds of connections at once, some of which then time out.
fn plain() -> FleetSpec {
    FleetSpec {
        edges: EDGES,
        node_weights: vec![1; NODES],
        upstream_http2: true,
        ..FleetSpec::default()
    }
}

/// What is written where nothing but Lua is at hand.
fn closing_by_chance(chance: f64) -> String {
    format!(
        "function envoy_on_response(handle)
  if math.random() < {chance:.6} then
    handle:streamInfo():drainConnectionUponCompletion()
  end
end
"
    )
}

/// As Envoy and people read it: `33.333s`.
fn seconds(time: Duration) -> String {
    format!("{}s", whole_millis(time).as_secs_f64())
}

/// As Spillway's configuration has it: `33s 333ms`.
fn in_json(time: Duration) -> String {
    humantime::format_duration(whole_millis(time)).to_string()
}

#[cfg(test)]
mod tests {
    use redistribution::close_rate::CloseRate;
    use redistribution::config::NodeConfig;

    use super::*;

    fn setup(contender: Contender, settle_time_s: u64) -> Setup {
        let settle_time = Duration::from_secs(settle_time_s);
        contender.setup(Conditions { clients: 1_200, settle_time })
    }

    #[test]
    fn only_spillways_own_have_its_filters() {
        for contender in Contender::value_variants() {
            let fleet = setup(*contender, 30).fleet;
            let spillways = matches!(
                contender,
                Contender::PerSecond | Contender::MeanConnectionAge | Contender::Rebalance
            );
            assert_eq!((fleet.edge_filters, fleet.node_filter), (spillways, spillways));
            assert_eq!(fleet.edge_lua.is_some(), *contender == Contender::ChancePerResponse);
        }
    }

    #[test]
    fn envoys_options_have_envoys_names() {
        let options = |contender| {
            setup(contender, 30).fleet.edge_manager["common_http_protocol_options"].take()
        };
        assert_eq!(options(Contender::Nothing), json!({}));
        let expected = json!({ "max_connection_duration": "33.333s" });
        assert_eq!(options(Contender::MaxConnectionDuration), expected);
        let expected = json!({
            "max_connection_duration": "30.303s", "max_connection_duration_jitter": { "value": 20.0 }
        });
        assert_eq!(options(Contender::MaxConnectionDurationJitter), expected);
        let expected = json!({ "max_requests_per_connection": 33 });
        assert_eq!(options(Contender::MaxRequestsPerConnection), expected);
    }

    #[test]
    fn spillways_configurations_are_taken_and_bind_nothing_but_what_is_compared() {
        for settle_time_s in [20, 30, 33, 600] {
            for contender in
                [Contender::PerSecond, Contender::MeanConnectionAge, Contender::Rebalance]
            {
                let fleet = setup(contender, settle_time_s).fleet;
                let config = NodeConfig::parse(fleet.node.to_string().as_bytes()).expect("taken");
                let limit = match config.close_rate {
                    CloseRate::Rebalance(rebalance) => rebalance.max_per_second.get(),
                    CloseRate::PerSecond(_) | CloseRate::MeanConnectionAge(_) => 1_200.0,
                };
                assert!((limit - 1_200.0).abs() < f64::EPSILON, "{limit}");
                assert_eq!(fleet.http["max_closes_per_second"], 1_200);
            }
        }
    }

    #[test]
    fn names_are_those_of_the_settings() {
        let names: Vec<_> = Contender::value_variants().iter().map(|way| way.name()).collect();
        assert_eq!(names[1], "max_connection_duration");
        assert_eq!(names[7], "rebalance");
        let words = setup(Contender::PerSecond, 30).parameters;
        assert_eq!(words, "22.5/s, min_connection_age 33.333s");
    }
}
