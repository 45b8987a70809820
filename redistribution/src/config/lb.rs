//! The configuration of `lb_filter.wasm`.

use std::time::Duration;

use super::json::Json;
use super::reader::{self, duration, number, one_of};
use super::{Mistakes, Mode};
use crate::close_rate::PerSecond;
use crate::wire::{DEFAULT_POOL, MAX_NAME_BYTES, is_valid_name};

/// The configuration of an edge's filter.
#[derive(Clone, Debug, PartialEq)]
pub struct LbConfig {
    /// Where in Envoy the filter stands. Default: `http`.
    pub role: Role,
    /// The load balancer's id. Default: the Envoy node id.
    pub id: Option<String>,
    /// The pool it belongs to. Default: `default`.
    pub pool: String,
    /// Its capacity relative to the others of its pool. Default: 1.
    pub weight: f64,
    /// Whether connections are closed, or only counted. Default: `enforce`.
    pub mode: Mode,
    /// Closes per second it makes at most, over all workers. Default: 100.
    pub max_closes_per_second: PerSecond,
    /// Requests per second that each VM (worker) stamps at most, more or less; of more it stamps a
    /// sample. Default: 1000.
    pub max_stamps_per_second: PerSecond,
    /// How long a client that was told to close may stay without a request. Default: 5 s.
    pub drain_timeout: Duration,
    /// How long it may stay whatever it does, also with a request in flight, which is cut then.
    /// Default: for ever.
    pub max_drain: Option<Duration>,
}

/// Where in Envoy the filter stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// HTTP filter: stamps requests and takes close requests off responses.
    #[default]
    Http,
    /// Network filter in front of the HTTP connection manager: closes connections.
    Connection,
    /// Upstream HTTP filter of a cluster: only takes close requests off responses, before a cache
    /// in the HTTP filter chain can store them.
    Responses,
}

impl Default for LbConfig {
    fn default() -> Self {
        Self {
            role: Role::Http,
            id: None,
            pool: DEFAULT_POOL.to_owned(),
            weight: 1.0,
            mode: Mode::Enforce,
            max_closes_per_second: PerSecond::new(100.0).unwrap_or_default(),
            max_stamps_per_second: PerSecond::new(1000.0).unwrap_or_default(),
            drain_timeout: Duration::from_secs(5),
            max_drain: None,
        }
    }
}

impl LbConfig {
    /// Reads the bytes of a plugin configuration; none at all mean the defaults.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Mistakes> {
        reader::read(bytes, |object| {
            let defaults = Self::default();
            let roles = [
                ("http", Role::Http),
                ("connection", Role::Connection),
                ("responses", Role::Responses),
            ];
            let max_drain = Duration::from_millis(100)..=Duration::from_hours(24 * 365);
            let drain = Duration::from_millis(100)..=Duration::from_hours(1);
            Self {
                role: object
                    .field("role")
                    .and_then(|field| field.parse(one_of(&roles)))
                    .unwrap_or_default(),
                id: object.field("id").and_then(|field| field.parse(name)),
                pool: object
                    .field("pool")
                    .and_then(|field| field.parse(name))
                    .unwrap_or(defaults.pool),
                weight: object
                    .field("weight")
                    .and_then(|field| field.parse(number(0.001..=1_000_000.0)))
                    .unwrap_or(defaults.weight),
                mode: Mode::read(object),
                max_closes_per_second: object
                    .field("max_closes_per_second")
                    .and_then(|field| field.parse(number(0.001..=100_000.0)))
                    .and_then(PerSecond::new)
                    .unwrap_or(defaults.max_closes_per_second),
                max_stamps_per_second: object
                    .field("max_stamps_per_second")
                    .and_then(|field| field.parse(number(1.0..=1_000_000.0)))
                    .and_then(PerSecond::new)
                    .unwrap_or(defaults.max_stamps_per_second),
                drain_timeout: object
                    .field("drain_timeout")
                    .and_then(|field| field.parse(duration(drain)))
                    .unwrap_or(defaults.drain_timeout),
                max_drain: object
                    .field("max_drain")
                    .and_then(|field| field.parse(duration(max_drain))),
            }
        })
    }
}

fn name(value: &Json) -> Result<String, String> {
    value
        .as_str()
        .filter(|name| is_valid_name(name))
        .map(ToOwned::to_owned)
        .ok_or_else(|| format!("must be 1 to {MAX_NAME_BYTES} printable ASCII characters"))
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn nothing_is_the_defaults_and_every_field_is_read() {
        assert_eq!(LbConfig::parse(b""), Ok(LbConfig::default()));
        let json = br#"{
            "role": "connection",
            "id": "edge-1",
            "pool": "eu",
            "weight": 2,
            "mode": "observe",
            "max_closes_per_second": 7.5,
            "max_stamps_per_second": 200,
            "drain_timeout": "500ms",
            "max_drain": "2h"
        }"#;
        assert_eq!(
            LbConfig::parse(json),
            Ok(LbConfig {
                role: Role::Connection,
                id: Some("edge-1".into()),
                pool: "eu".into(),
                weight: 2.0,
                mode: Mode::Observe,
                max_closes_per_second: PerSecond::new(7.5).unwrap(),
                max_stamps_per_second: PerSecond::new(200.0).unwrap(),
                drain_timeout: Duration::from_millis(500),
                max_drain: Some(Duration::from_hours(2)),
            })
        );
    }

    #[test]
    fn each_mistake_has_its_message() {
        let range = "must be a number from 0.001 to";
        let characters = "must be 1 to 256 printable ASCII characters";
        let cases = [
            (
                r#"{"role": "tcp"}"#,
                r#"role: "tcp": must be "http" or "connection" or "responses""#.to_owned(),
            ),
            (r#"{"id": ""}"#, format!(r#"id: "": {characters}"#)),
            (r#"{"id": 5}"#, format!("id: 5: {characters}")),
            (r#"{"pool": "ä"}"#, format!(r#"pool: "ä": {characters}"#)),
            (r#"{"weight": 0}"#, format!("weight: 0: {range} 1000000")),
            (
                r#"{"max_closes_per_second": "9"}"#,
                format!(r#"max_closes_per_second: "9": {range} 100000"#),
            ),
            (
                r#"{"drain_timeout": "1ms"}"#,
                "drain_timeout: \"1ms\": must be a duration from 100ms to 1h, such as \"90s\" or \
                 \"10m\""
                    .to_owned(),
            ),
        ];
        for (json, message) in cases {
            let mistakes = LbConfig::parse(json.as_bytes()).unwrap_err();
            assert_eq!(
                mistakes.to_string(),
                format!("1 mistake in the configuration:\n  {message}")
            );
        }
    }
}
