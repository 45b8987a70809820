//! Configurations that a filter must refuse. What it says of each is in `snapshots/`.

use std::fmt::Write;

use redistribution::config::{LbConfig, Mistakes, NodeConfig};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Filter {
    Lb,
    Node,
}

/// A configuration, and what is wrong with it.
pub struct Bad {
    pub what: &'static str,
    pub bytes: Vec<u8>,
}

const TEN_MIB: usize = 10 << 20;

// === impl Filter ===

impl Filter {
    pub fn parse(self, bytes: &[u8]) -> Result<(), Mistakes> {
        match self {
            Self::Lb => LbConfig::parse(bytes).map(drop),
            Self::Node => NodeConfig::parse(bytes).map(drop),
        }
    }

    /// All that is tried of it.
    pub fn bad(self) -> Vec<Bad> {
        let texts = match self {
            Self::Lb => [LB_FIELDS, LB_VALUES].concat(),
            Self::Node => [NODE_FIELDS, NODE_VALUES, NODE_TOGETHER].concat(),
        };
        let texts = WHOLE.iter().copied().chain(texts);
        let mut all: Vec<_> =
            texts.map(|(what, text)| Bad { what, bytes: text.as_bytes().to_vec() }).collect();
        all.extend(made());
        all
    }
}

/// Wrong as a whole, whatever the filter.
const WHOLE: &[(&str, &str)] = &[
    ("YAML", "mode: enforce\nweight: 2\n"),
    ("a brace is missing", r#"{"mode": "enforce""#),
    ("a comma too many", r#"{"mode": "enforce",}"#),
    ("a comment", "{\n  // all of it\n  \"mode\": \"enforce\"\n}"),
    ("other quotes", "{'mode': 'enforce'}"),
    ("a name without quotes", r#"{mode: "enforce"}"#),
    ("two in one", "{} {}"),
    ("a list", r#"[{"mode": "enforce"}]"#),
    ("a text", r#""enforce""#),
    ("a number", "5"),
    ("null", "null"),
    ("JSON within JSON", r#""{\"mode\": \"enforce\"}""#),
    ("a byte order mark", "\u{feff}{}"),
    ("a NUL at its end", "{}\0"),
    ("a line end within a text", "{\"mode\": \"en\nforce\"}"),
    ("half of a surrogate pair", r#"{"mode": "\ud83d"}"#),
    ("an empty name", r#"{"": "enforce"}"#),
    ("a name that could move the cursor", r#"{"mode\u001b[2J\u009b1m": "enforce"}"#),
    ("a value that reads backwards", r#"{"mode": "\u202eecrofne"}"#),
    ("the same field twice", r#"{"mode": "enforce", "mode": "observe"}"#),
    (
        "the same field twice, once spelled otherwise",
        r#"{"mode": "enforce", "\u006dode": "enforce"}"#,
    ),
    ("mode in capitals", r#"{"mode": "Enforce"}"#),
    ("mode with a space", r#"{"mode": "enforce "}"#),
    ("mode is empty", r#"{"mode": ""}"#),
    ("mode is null", r#"{"mode": null}"#),
    ("mode is a number", r#"{"mode": 1}"#),
    ("mode is an object", r#"{"mode": {"enforce": true}}"#),
];

const NODE_FIELDS: &[(&str, &str)] = &[
    ("a letter is missing", r#"{"mod": "observe"}"#),
    ("two letters have changed places", r#"{"close_raet": {}}"#),
    ("as protocol buffers would have it", r#"{"minConnectionAge": "10s"}"#),
    ("with a dash", r#"{"share-window": "2s"}"#),
    ("a path for a name", r#"{"share.nodes": 4}"#),
    ("a field of the other filter", r#"{"max_closes_per_second": 100}"#),
    ("a field from further down", r#"{"settle_time": "1m"}"#),
    ("no such policy", r#"{"close_rate": {"per_minute": 5}}"#),
    ("a policy misspelled", r#"{"close_rate": {"rebalanse": {}}}"#),
    ("a policy, and what is none", r#"{"close_rate": {"per_second": 5, "max_per_second": 9}}"#),
    (
        "fields of a policy misspelled",
        r#"{"close_rate": {"rebalance": {"settletime": "1m", "tolerence": 0.1}}}"#,
    ),
    (
        "the floor of another policy",
        r#"{"close_rate": {"rebalance": {"floor": {"per_second": 1}}}}"#,
    ),
    (
        "the floor's field misspelled",
        r#"{"close_rate": {"rebalance": {"floor": {"mean_conection_age": "1h"}}}}"#,
    ),
    ("nodes misspelled", r#"{"share": {"node": 4}}"#),
];

const NODE_VALUES: &[(&str, &str)] = &[
    ("close_rate is a text", r#"{"close_rate": "rebalance"}"#),
    ("close_rate is a list", r#"{"close_rate": [{"rebalance": {}}]}"#),
    ("close_rate is null", r#"{"close_rate": null}"#),
    ("per_second is a text", r#"{"close_rate": {"per_second": "5"}}"#),
    ("per_second is null", r#"{"close_rate": {"per_second": null}}"#),
    ("per_second is negative", r#"{"close_rate": {"per_second": -1}}"#),
    ("per_second is too high", r#"{"close_rate": {"per_second": 10000.5}}"#),
    ("per_second is huge", r#"{"close_rate": {"per_second": 1e300}}"#),
    ("per_second is more than a number can be", r#"{"close_rate": {"per_second": 1e999}}"#),
    ("per_second is NaN", r#"{"close_rate": {"per_second": NaN}}"#),
    ("per_second is NaN in quotes", r#"{"close_rate": {"per_second": "NaN"}}"#),
    ("per_second is Infinity", r#"{"close_rate": {"per_second": Infinity}}"#),
    ("per_second is -Infinity", r#"{"close_rate": {"per_second": -Infinity}}"#),
    ("per_second is Infinity in quotes", r#"{"close_rate": {"per_second": "Infinity"}}"#),
    ("mean_connection_age is a number", r#"{"close_rate": {"mean_connection_age": 600}}"#),
    ("mean_connection_age is zero", r#"{"close_rate": {"mean_connection_age": "0s"}}"#),
    (
        "mean_connection_age is longer than a year",
        r#"{"close_rate": {"mean_connection_age": "366days"}}"#,
    ),
    ("rebalance is null", r#"{"close_rate": {"rebalance": null}}"#),
    ("rebalance is a switch", r#"{"close_rate": {"rebalance": true}}"#),
    ("settle_time is a number", r#"{"close_rate": {"rebalance": {"settle_time": 60}}}"#),
    ("settle_time is short", r#"{"close_rate": {"rebalance": {"settle_time": "9s"}}}"#),
    ("tolerance in per cent", r#"{"close_rate": {"rebalance": {"tolerance": "10%"}}}"#),
    ("tolerance is zero", r#"{"close_rate": {"rebalance": {"tolerance": 0}}}"#),
    ("tolerance is high", r#"{"close_rate": {"rebalance": {"tolerance": 10}}}"#),
    ("max_per_second is zero", r#"{"close_rate": {"rebalance": {"max_per_second": 0}}}"#),
    ("max_per_second is a list", r#"{"close_rate": {"rebalance": {"max_per_second": [50]}}}"#),
    ("floor is a duration", r#"{"close_rate": {"rebalance": {"floor": "1h"}}}"#),
    (
        "the floor's age is a number",
        r#"{"close_rate": {"rebalance": {"floor": {"mean_connection_age": 3600}}}}"#,
    ),
    ("a duration is a number", r#"{"min_connection_age": 10}"#),
    ("a duration without its unit", r#"{"min_connection_age": "10"}"#),
    ("a duration is empty", r#"{"min_connection_age": ""}"#),
    ("a duration is a space", r#"{"min_connection_age": " "}"#),
    ("a duration is negative", r#"{"min_connection_age": "-1s"}"#),
    ("a duration with an exponent", r#"{"min_connection_age": "1e3s"}"#),
    ("a duration of no unit", r#"{"min_connection_age": "10 parsecs"}"#),
    ("a duration is infinite", r#"{"min_connection_age": "inf"}"#),
    ("a duration in digits of another script", r#"{"min_connection_age": "٣s"}"#),
    ("a duration longer than a day", r#"{"min_connection_age": "24h 1s"}"#),
    ("a duration that no clock can hold", r#"{"min_connection_age": "18446744073709551616s"}"#),
    ("another one", r#"{"min_connection_age": "18446744073709551615y"}"#),
    ("share is a number", r#"{"share": 4}"#),
    ("share is no such word", r#"{"share": "equal"}"#),
    ("share is null", r#"{"share": null}"#),
    ("nodes is a text", r#"{"share": {"nodes": "4"}}"#),
    ("nodes is zero", r#"{"share": {"nodes": 0}}"#),
    ("nodes is negative", r#"{"share": {"nodes": -4}}"#),
    ("nodes is not whole", r#"{"share": {"nodes": 1.5}}"#),
    ("nodes is huge", r#"{"share": {"nodes": 18446744073709551616}}"#),
    ("share_window is zero", r#"{"share_window": "0s"}"#),
    ("lb_timeout is short", r#"{"lb_timeout": "1s"}"#),
];

const NODE_TOGETHER: &[(&str, &str)] = &[
    ("no policy", r#"{"close_rate": {}}"#),
    (
        "two policies, of which one has its own mistake",
        r#"{"close_rate": {"per_second": 5, "rebalance": {"tolerance": 2}}}"#,
    ),
    ("no floor", r#"{"close_rate": {"rebalance": {"floor": {}}}}"#),
    ("no nodes", r#"{"share": {}}"#),
    ("lb_timeout below share_window", r#"{"lb_timeout": "2s", "share_window": "3s"}"#),
    (
        "share_window above the default lb_timeout",
        r#"{"close_rate": {"per_second": 1}, "share_window": "31s"}"#,
    ),
    ("share_window too long to settle in the default time", r#"{"share_window": "4s"}"#),
    (
        "settle_time below 20 times share_window",
        r#"{"close_rate": {"rebalance": {"settle_time": "30s"}}}"#,
    ),
    ("a policy twice", r#"{"close_rate": {"per_second": 5, "per_second": 50}}"#),
    ("nodes twice", r#"{"share": {"nodes": 4, "nodes": 4}}"#),
    (
        "all at once",
        r#"{
            "mode": "on",
            "close_rate": {"rebalance": {"settle_time": "1 minute", "tolerance": -0.1, "flor": {}}},
            "min_connection_age": "never",
            "share": {"nodes": 0, "of": 9},
            "share_window": 2,
            "lb_timeout": "1y",
            "closerate": 5
        }"#,
    ),
];

const LB_FIELDS: &[(&str, &str)] = &[
    ("a letter is missing", r#"{"rol": "http"}"#),
    ("a letter too many", r#"{"weigth": 2}"#),
    ("as protocol buffers would have it", r#"{"maxClosesPerSecond": 100}"#),
    ("with dashes", r#"{"drain-timeout": "5s"}"#),
    ("no name of ours", r#"{"verbose": true}"#),
    ("a field of the other filter", r#"{"close_rate": {"per_second": 5}}"#),
];

const LB_VALUES: &[(&str, &str)] = &[
    ("role is no such word", r#"{"role": "tcp"}"#),
    ("role is empty", r#"{"role": ""}"#),
    ("role is null", r#"{"role": null}"#),
    ("both roles", r#"{"role": ["http", "connection"]}"#),
    ("id is empty", r#"{"id": ""}"#),
    ("id is a number", r#"{"id": 1}"#),
    ("id is not ASCII", r#"{"id": "edge-ä"}"#),
    ("id has a line end", r#"{"id": "edge-1\n"}"#),
    ("pool is empty", r#"{"pool": ""}"#),
    ("pool is null", r#"{"pool": null}"#),
    ("pool is a list", r#"{"pool": ["eu", "us"]}"#),
    ("weight is a text", r#"{"weight": "2"}"#),
    ("weight is zero", r#"{"weight": 0}"#),
    ("weight is minus zero", r#"{"weight": -0.0}"#),
    ("weight is negative", r#"{"weight": -1}"#),
    ("weight is too small", r#"{"weight": 5e-324}"#),
    ("weight is huge", r#"{"weight": 1000001}"#),
    ("weight is more than a number can be", r#"{"weight": -1e999}"#),
    ("weight is NaN", r#"{"weight": NaN}"#),
    ("weight is NaN in quotes", r#"{"weight": "NaN"}"#),
    ("weight is Infinity", r#"{"weight": Infinity}"#),
    ("max_closes_per_second is zero", r#"{"max_closes_per_second": 0}"#),
    ("max_closes_per_second is unlimited", r#"{"max_closes_per_second": "unlimited"}"#),
    ("max_closes_per_second is huge", r#"{"max_closes_per_second": 18446744073709551615}"#),
    ("max_stamps_per_second is zero", r#"{"max_stamps_per_second": 0}"#),
    ("max_stamps_per_second is null", r#"{"max_stamps_per_second": null}"#),
    ("drain_timeout is a number", r#"{"drain_timeout": 5}"#),
    ("drain_timeout is zero", r#"{"drain_timeout": "0"}"#),
    ("drain_timeout is short", r#"{"drain_timeout": "99ms"}"#),
    ("drain_timeout is long", r#"{"drain_timeout": "61m"}"#),
    ("drain_timeout is empty", r#"{"drain_timeout": ""}"#),
    ("max_drain is never", r#"{"max_drain": "never"}"#),
    ("max_drain is longer than a year", r#"{"max_drain": "10years"}"#),
    ("weight twice", r#"{"weight": 1, "weight": 2}"#),
    (
        "all at once",
        r#"{
            "rol": "http",
            "id": "",
            "pool": 5,
            "weight": "2",
            "mode": "on",
            "max_closes_per_second": -100,
            "drain_timeout": 5,
            "max_drain": "0s",
            "max_dran": "1h"
        }"#,
    ),
];

/// Those that are too long to be written down.
fn made() -> Vec<Bad> {
    let text = |what, text: String| Bad { what, bytes: text.into_bytes() };
    let mut unknown = String::from("{");
    for n in 0..1000 {
        // Writing into a text cannot fail.
        let _ = write!(unknown, "{}\"x{n}\": {n}", if n == 0 { "" } else { ", " });
    }
    unknown.push('}');
    let nested = |depth| "{\"share\":".repeat(depth) + "1" + &"}".repeat(depth);
    let utf16 = "{\"mode\": \"enforce\"}".encode_utf16().flat_map(u16::to_le_bytes);
    let utf16 = [0xff, 0xfe].into_iter().chain(utf16).collect();
    vec![
        Bad { what: "not UTF-8, within a text", bytes: b"{\"mode\": \"enforc\xe9\"}".to_vec() },
        Bad { what: "UTF-16", bytes: utf16 },
        text("a long name", format!("{{\"{}\": 1}}", "mode_".repeat(100))),
        text("a long value", format!("{{\"mode\": \"{}\"}}", "enforce ".repeat(100))),
        text("a thousand fields that are none", unknown),
        text("as deep as JSON is read", nested(127)),
        text("deeper", nested(128)),
        text("100,000 lists in each other", "[".repeat(100_000)),
        text("30,000 lists in each other", "[".repeat(30_000) + &"]".repeat(30_000)),
        text("one byte more than is read", "{}".to_owned() + &" ".repeat((64 << 10) - 1)),
        text("10 MiB of spaces", " ".repeat(TEN_MIB)),
        text("a value of 10 MiB", format!("{{\"mode\": \"{}\"}}", "e".repeat(TEN_MIB))),
        text("10 MiB of objects in each other", "{\"share\":".repeat(TEN_MIB / 9)),
        Bad { what: "10 MiB of noise", bytes: b"\x80\xff\x00\xc3".repeat(TEN_MIB / 4) },
    ]
}
