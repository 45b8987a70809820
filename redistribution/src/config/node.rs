//! The configuration of `node_filter.wasm`.

use std::time::Duration;

use super::reader::{self, Field, Object, Plain, duration, number, whole_number};
use super::{Mistakes, Mode};
use crate::close_rate::{CloseRate, PerSecond, Share};
use crate::rebalance::Rebalance;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
/// Least `settle_time`, in stretches of `share_window`.
const STRETCHES_TO_SETTLE: u32 = 20;
const DAY: Duration = Duration::from_hours(24);

/// The configuration of a node's filter.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// Whether close requests are sent, or only counted. Default: `enforce`.
    pub mode: Mode,
    /// The close rate wanted of each load balancer. Default: what balance needs.
    pub close_rate: CloseRate,
    /// Connections younger than this are not closed. Default: 10 s.
    pub min_connection_age: Duration,
    /// Where the share comes from. Default: measured.
    pub share: Share,
    /// The stretch of time over which requests are counted, before they are turned into closes
    /// to come over the next one. Default: 2 s.
    pub share_window: Duration,
    /// A load balancer not heard of for this long is forgotten. Default: 30 s.
    pub lb_timeout: Duration,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            close_rate: CloseRate::Rebalance(Rebalance::default()),
            min_connection_age: 10 * SECOND,
            share: Share::Measured,
            share_window: 2 * SECOND,
            lb_timeout: 30 * SECOND,
        }
    }
}

impl NodeConfig {
    /// Reads the bytes of a plugin configuration; none at all mean the defaults.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Mistakes> {
        reader::read(bytes, |object| {
            let defaults = Self::default();
            let mode = Mode::read(object);
            let (close_rate, rate_is_right) = read(object, read_close_rate, defaults.close_rate);
            let min_connection_age = object.field("min_connection_age");
            let min_connection_age = min_connection_age
                .and_then(|age| age.parse(duration(Duration::ZERO..=DAY)))
                .unwrap_or(defaults.min_connection_age);
            let share = read_share(object).unwrap_or_default();
            let (share_window, window_is_right) = read(
                object,
                |o| o.field("share_window")?.parse(duration(SECOND..=HOUR)),
                defaults.share_window,
            );
            let (lb_timeout, timeout_is_right) = read(
                object,
                |o| o.field("lb_timeout")?.parse(duration(2 * SECOND..=DAY)),
                defaults.lb_timeout,
            );
            if window_is_right && timeout_is_right {
                compare_timeout(object, lb_timeout, share_window);
            }
            if let CloseRate::Rebalance(rebalance) = close_rate
                && rate_is_right
                && window_is_right
            {
                compare_settle_time(object, rebalance.settle_time, share_window);
            }
            Self { mode, close_rate, min_connection_age, share, share_window, lb_timeout }
        })
    }
}

/// What `read` finds, or the default; and whether there was no mistake in it. What has one cannot be
/// compared with anything.
fn read<'v, 'm, T>(
    object: &mut Object<'v, 'm>,
    read: impl FnOnce(&mut Object<'v, 'm>) -> Option<T>,
    default: T,
) -> (T, bool) {
    let before = object.mistakes();
    let value = read(object).unwrap_or(default);
    (value, object.mistakes() == before)
}

/// A load balancer would be forgotten before it was measured.
fn compare_timeout(object: &mut Object<'_, '_>, lb_timeout: Duration, share_window: Duration) {
    if lb_timeout >= share_window {
        return;
    }
    if let Some(field) = object.field("lb_timeout") {
        field.mistake(format!("must not be shorter than share_window ({})", Plain(share_window)));
    } else if let Some(field) = object.field("share_window") {
        field.mistake(format!("must not be longer than lb_timeout ({})", Plain(lb_timeout)));
    }
}

fn compare_settle_time(object: &mut Object<'_, '_>, settle_time: Duration, share_window: Duration) {
    let field = object.field("close_rate").or_else(|| object.field("share_window"));
    if settle_time < share_window.saturating_mul(STRETCHES_TO_SETTLE)
        && let Some(field) = field
    {
        field.mistake(format!(
            "settle_time ({}) must be at least {STRETCHES_TO_SETTLE} times share_window ({}): \
             what is measured is late by some of these, and a law that acts faster than it \
             sees makes loads swing",
            Plain(settle_time),
            Plain(share_window)
        ));
    }
}

fn read_close_rate(object: &mut Object<'_, '_>) -> Option<CloseRate> {
    object.field("close_rate")?.object(|policies| {
        // All of them are read, for the mistakes in each.
        let per_second = policies.field("per_second").map(|rate| {
            let rate = PerSecond::new(rate.parse(number(0.0..=10_000.0))?)?;
            Some(CloseRate::PerSecond(rate))
        });
        let age = policies.field("mean_connection_age");
        let age = age.map(|age| Some(CloseRate::MeanConnectionAge(read_age(&age)?)));
        let rebalance = policies.field("rebalance").map(|settings| {
            settings.object(|settings| CloseRate::Rebalance(read_rebalance(settings)))
        });
        policies.exactly_one([per_second, age, rebalance])
    })?
}

fn read_age(age: &Field<'_, '_>) -> Option<Duration> {
    age.parse(duration(SECOND..=365 * DAY))
}

fn read_rebalance(object: &mut Object<'_, '_>) -> Rebalance {
    let defaults = Rebalance::default();
    let settle_time = object.field("settle_time");
    let tolerance = object.field("tolerance");
    let most = object.field("max_per_second");
    let floor = object.field("floor").and_then(|floor| {
        floor.object(|floor| {
            let age = floor.field("mean_connection_age").map(|age| read_age(&age));
            floor.exactly_one([age])
        })?
    });
    Rebalance {
        settle_time: settle_time
            .and_then(|time| time.parse(duration(10 * SECOND..=DAY)))
            .unwrap_or(defaults.settle_time),
        tolerance: tolerance
            .and_then(|tolerance| tolerance.parse(number(0.01..=0.5)))
            .unwrap_or(defaults.tolerance),
        max_per_second: most
            .and_then(|most| PerSecond::new(most.parse(number(0.001..=10_000.0))?))
            .unwrap_or(defaults.max_per_second),
        floor,
    }
}

fn read_share(object: &mut Object<'_, '_>) -> Option<Share> {
    let field = object.field("share")?;
    if field.is("measured") {
        return Some(Share::Measured);
    }
    if !field.is_object() {
        field.mistake("must be \"measured\" or { \"nodes\": COUNT }".to_owned());
        return None;
    }
    field.object(|share| {
        let nodes = share
            .field("nodes")
            .map(|nodes| Some(Share::Fixed { vms: nodes.parse(whole_number(1..=1_000_000))? }));
        share.exactly_one([nodes])
    })?
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn messages(json: &str) -> Vec<String> {
        let mistakes = NodeConfig::parse(json.as_bytes()).unwrap_err();
        mistakes.as_slice().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_and_an_empty_object_are_the_defaults() {
        for json in ["", "  \n", "{}"] {
            assert_eq!(NodeConfig::parse(json.as_bytes()), Ok(NodeConfig::default()));
        }
    }

    #[test]
    fn every_field_is_read() {
        let json = r#"{
            "mode": "observe",
            "close_rate": { "per_second": 2.5 },
            "min_connection_age": "1m",
            "share": { "nodes": 4.0 },
            "share_window": "20s",
            "lb_timeout": "2m 30s"
        }"#;
        assert_eq!(
            NodeConfig::parse(json.as_bytes()),
            Ok(NodeConfig {
                mode: Mode::Observe,
                close_rate: CloseRate::PerSecond(PerSecond::new(2.5).unwrap()),
                min_connection_age: Duration::from_mins(1),
                share: Share::Fixed { vms: 4 },
                share_window: Duration::from_secs(20),
                lb_timeout: Duration::from_secs(150),
            })
        );
        let age = NodeConfig::parse(br#"{"close_rate": {"mean_connection_age": "10m"}}"#);
        assert_eq!(age.unwrap().close_rate, CloseRate::MeanConnectionAge(Duration::from_mins(10)));
    }

    #[test]
    fn each_mistake_has_its_message() {
        let cases = [
            ("[]", "[]: must be an object"),
            ("{\"mode\": \"on\"}", "mode: \"on\": must be \"enforce\" or \"observe\""),
            (
                "{\"close_rate\": {\"per_second\": -1}}",
                "close_rate.per_second: -1: must be a number from 0 to 10000",
            ),
            (
                "{\"close_rate\": {}}",
                "close_rate: {}: must hold exactly one of per_second, mean_connection_age, rebalance",
            ),
            ("{\"close_rate\": 5}", "close_rate: 5: must be an object"),
            (
                "{\"share\": \"equal\"}",
                "share: \"equal\": must be \"measured\" or { \"nodes\": COUNT }",
            ),
            (
                "{\"share\": {\"nodes\": 0}}",
                "share.nodes: 0: must be a whole number from 1 to 1000000",
            ),
            (
                "{\"share_window\": \"10s\"}",
                "share_window: \"10s\": settle_time (1m) must be at least 20 times share_window \
                 (10s): what is measured is late by some of these, and a law that acts faster than \
                 it sees makes loads swing",
            ),
            (
                "{\"share_window\": 10}",
                "share_window: 10: must be a duration from 1s to 1h, such as \"90s\" or \"10m\"",
            ),
            (
                "{\"lb_timeout\": \"2s\", \"share_window\": \"3s\"}",
                "lb_timeout: \"2s\": must not be shorter than share_window (3s)",
            ),
            (
                "{\"close_rate\": {\"per_second\": 1}, \"share_window\": \"40s\"}",
                "share_window: \"40s\": must not be longer than lb_timeout (30s)",
            ),
        ];
        for (json, message) in cases {
            assert_eq!(messages(json), [message], "{json}");
        }
        assert!(messages("{").concat().starts_with("{: is not JSON (EOF"));
    }

    #[test]
    fn each_mistake_is_one_line_with_a_path_that_can_be_found() {
        let cases = [
            ("{\"\": 1}", "\"\": 1: is not a field here"),
            ("{\"share.nodes\": 1}", "\"share.nodes\": 1: is not a field here"),
            ("{\"a\\nb\": 1}", "\"a\\nb\": 1: is not a field here"),
            ("{\"a\u{7f}b\": \"\u{85}\"}", "\"a\\u007fb\": \"\\u0085\": is not a field here"),
            ("mode: enforce\n\tshare: 1\n", "mode: enforce share: 1: is not JSON ("),
        ];
        for (json, start) in cases {
            let [message] = &messages(json)[..] else { panic!("several for {json}") };
            assert!(message.starts_with(start), "{message}");
            assert!(!message.contains(char::is_control), "{message:?}");
        }
        let long = messages(&format!("{{\"{}\": 1}}", "a".repeat(1000)));
        assert!(long[0].len() < 300, "{}", long[0]);
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let found = messages(
            r#"{"mode": 1, "min_connection_age": "-1s", "close_rate": {"per_minute": 5}, "x": null}"#,
        );
        let paths: Vec<_> = found.iter().map(|text| text.split(": ").next().unwrap()).collect();
        assert_eq!(
            paths,
            ["mode", "close_rate", "close_rate.per_minute", "min_connection_age", "x"]
        );
        assert_eq!(
            found[4],
            "x: null: is not a field here; these are: mode, close_rate, min_connection_age, \
             share, share_window, lb_timeout"
        );
    }
}
