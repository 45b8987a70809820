//! The JSON Schemas of both configurations (`schemas/`) say what the filters say.
//!
//! Whatever a filter takes, its schema takes. What a filter refuses, its schema refuses too, but for
//! what a schema cannot express: how long a duration is, and how two of them compare.

use std::path::Path;

use anyhow::{Context, Result};
use integration::artifacts::workspace;
use integration::fleet::read_yaml;
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::sample::select;
use redistribution::config::{LbConfig, Mistakes, NodeConfig};
use serde_json::{Value, json};

use crate::bad::{Bad, Filter};

pub const BOTH: [Filter; 2] = [Filter::Lb, Filter::Node];

/// What is wrong with a configuration in words that only a filter can say: these are about
/// durations, which have to look like some, and about text that is JSON, but not one to be read.
const BEYOND_A_SCHEMA: [&str; 6] = [
    "must be a duration from ",
    "must not be shorter than ",
    "must not be longer than ",
    "settle_time (",
    "is there already",
    "is longer than ",
];

impl Filter {
    fn schema(self) -> Result<Value> {
        let name = match self {
            Self::Lb => "lb_filter",
            Self::Node => "node_filter",
        };
        let path = workspace().join(format!("schemas/{name}.schema.json"));
        Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
    }

    pub fn validator(self) -> Result<Validator> {
        Ok(jsonschema::draft202012::new(&self.schema()?)?)
    }

    fn takes(self, json: &Value) -> bool {
        self.parse(json.to_string().as_bytes()).is_ok()
    }

    /// Whether filter and schema agree on this text, and what they say of it. What is not JSON is
    /// nothing for a schema, and the filter has to refuse it.
    pub fn agrees(self, validator: &Validator, bytes: &[u8]) -> (bool, String) {
        let parsed = self.parse(bytes);
        let errors = serde_json::from_slice(bytes).ok().map(|json| -> Vec<_> {
            validator.iter_errors(&json).map(|error| error.to_string()).collect()
        });
        let beyond = |mistakes: &Mistakes| {
            mistakes.as_slice().iter().all(|mistake| {
                BEYOND_A_SCHEMA.iter().any(|start| mistake.reason.starts_with(start))
            })
        };
        let agree = match (&parsed, &errors) {
            (Ok(()), Some(errors)) => errors.is_empty(),
            (Ok(()), None) => bytes.trim_ascii().is_empty(),
            (Err(mistakes), Some(errors)) => !errors.is_empty() || beyond(mistakes),
            (Err(_), None) => true,
        };
        let text = String::from_utf8_lossy(bytes);
        (agree, format!("{self:?} {text}\nfilter: {parsed:?}\nschema: {errors:#?}"))
    }
}

#[test]
fn are_schemas() -> Result<()> {
    for filter in BOTH {
        assert!(jsonschema::meta::is_valid(&filter.schema()?), "{filter:?}");
    }
    Ok(())
}

#[test]
fn name_every_field_and_every_default() -> Result<()> {
    for filter in BOTH {
        let schema = filter.schema()?;
        let properties = schema["properties"].as_object().context("no properties")?;
        let mut named: Vec<_> = properties.keys().map(String::as_str).collect();
        let mistakes = filter.parse(br#"{ "no such": 0 }"#).expect_err("no such field");
        let (_, known) =
            mistakes.as_slice()[0].reason.split_once("these are: ").context("fields")?;
        let mut known: Vec<_> = known.split(", ").collect();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
        let defaults: Value = properties
            .iter()
            .filter_map(|(name, field)| Some((name.clone(), field.get("default")?.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into();
        match filter {
            Filter::Lb => {
                assert_eq!(LbConfig::parse(defaults.to_string().as_bytes())?, LbConfig::default());
            }
            Filter::Node => {
                let parsed = NodeConfig::parse(defaults.to_string().as_bytes())?;
                assert_eq!(parsed, NodeConfig::default());
                let policies = &properties["close_rate"]["properties"];
                let rebalance = &policies["rebalance"]["properties"];
                let default = |name: &str| rebalance[name]["default"].clone();
                let spelled = json!({ "close_rate": { "rebalance": {
                    "settle_time": default("settle_time"),
                    "tolerance": default("tolerance"),
                    "max_per_second": default("max_per_second"),
                } } });
                let parsed = NodeConfig::parse(spelled.to_string().as_bytes())?;
                assert_eq!(parsed, NodeConfig::default());
            }
        }
    }
    Ok(())
}

/// The configurations of the filters in a YAML file, by module.
fn configurations(value: &Value, found: &mut Vec<(Filter, Value)>) {
    let config = &value["typed_config"]["config"];
    let file = config["vm_config"]["code"]["local"]["filename"].as_str().unwrap_or_default();
    let filter = match Path::new(file).file_name().and_then(|name| name.to_str()) {
        Some("lb_filter.wasm") => Some(Filter::Lb),
        Some("node_filter.wasm") => Some(Filter::Node),
        _ => None,
    };
    let text = config["configuration"]["value"].as_str();
    if let (Some(filter), Some(text)) = (filter, text) {
        found.push((filter, serde_json::from_str(text).expect("JSON")));
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|field| configurations(field, found)),
        Value::Array(items) => items.iter().for_each(|item| configurations(item, found)),
        _ => {}
    }
}

#[test]
fn take_what_is_shipped_and_what_the_readme_shows() -> Result<()> {
    let mut found = Vec::new();
    for folder in ["envoy-configs", "envoy-configs/xds", "envoy-configs/compose"] {
        for entry in std::fs::read_dir(workspace().join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                configurations(&read_yaml(&path)?, &mut found);
            }
        }
    }
    assert!(found.len() > 10, "only {}", found.len());
    let readme = std::fs::read_to_string(workspace().join("README.md"))?;
    for block in readme.split("```jsonc\n").skip(1).filter_map(|rest| rest.split("\n```").next()) {
        let json: String =
            block.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let filter = if json.contains("\"role\"") { Filter::Lb } else { Filter::Node };
        found.push((filter, serde_json::from_str(&json)?));
    }
    for (filter, json) in found {
        let validator = filter.validator()?;
        assert!(filter.takes(&json) && validator.is_valid(&json), "{filter:?} {json}");
    }
    Ok(())
}

#[test]
fn take_the_good_and_refuse_the_bad() -> Result<()> {
    let long = "x".repeat(257);
    let good = [
        (Filter::Lb, json!({ "role": "responses", "id": "edge-1", "weight": 1_000_000 })),
        (Filter::Lb, json!({ "mode": "observe", "max_drain": "1h 30m", "drain_timeout": "1.5s" })),
        (Filter::Node, json!({ "close_rate": { "per_second": 0 }, "min_connection_age": "0" })),
        (Filter::Node, json!({ "close_rate": { "mean_connection_age": "365days" } })),
        (Filter::Node, json!({ "share": { "nodes": 4.0 }, "share_window": "3sec" })),
        (
            Filter::Node,
            json!({ "close_rate": { "rebalance": { "floor": { "mean_connection_age": "1d" } } } }),
        ),
    ];
    for (filter, json) in good {
        assert!(filter.takes(&json), "{json}");
        assert!(filter.validator()?.is_valid(&json), "{json}");
    }
    let bad = [
        (Filter::Lb, json!([])),
        (Filter::Lb, json!({ "rol": "http" })),
        (Filter::Lb, json!({ "role": "tcp" })),
        (Filter::Lb, json!({ "role": null })),
        (Filter::Lb, json!({ "id": "" })),
        (Filter::Lb, json!({ "id": long })),
        (Filter::Lb, json!({ "pool": "\u{e4}" })),
        (Filter::Lb, json!({ "weight": 0 })),
        (Filter::Lb, json!({ "weight": "1" })),
        (Filter::Lb, json!({ "max_closes_per_second": 100_001 })),
        (Filter::Lb, json!({ "max_stamps_per_second": 0.5 })),
        (Filter::Lb, json!({ "drain_timeout": 5 })),
        (Filter::Lb, json!({ "drain_timeout": "5" })),
        (Filter::Lb, json!({ "drain_timeout": "-5s" })),
        (Filter::Lb, json!({ "drain_timeout": "5s," })),
        (Filter::Node, json!({ "mode": "off" })),
        (Filter::Node, json!({ "close_rate": {} })),
        (Filter::Node, json!({ "close_rate": { "per_second": 1, "rebalance": {} } })),
        (Filter::Node, json!({ "close_rate": { "per_second": 10_001 } })),
        (Filter::Node, json!({ "close_rate": { "rebalance": { "tolerance": 0.6 } } })),
        (Filter::Node, json!({ "close_rate": { "rebalance": { "floor": {} } } })),
        (Filter::Node, json!({ "close_rate": { "rebalance": { "floor": { "per_second": 1 } } } })),
        (Filter::Node, json!({ "share": "equal" })),
        (Filter::Node, json!({ "share": { "nodes": 0 } })),
        (Filter::Node, json!({ "share": { "nodes": 1.5 } })),
        (Filter::Node, json!({ "share": {} })),
        (Filter::Node, json!({ "role": "http" })),
    ];
    for (filter, json) in bad {
        assert!(!filter.takes(&json), "{json}");
        assert!(!filter.validator()?.is_valid(&json), "{json}");
    }
    // These only a filter can refuse.
    for json in [
        json!({ "share_window": "2h", "lb_timeout": "2h" }),
        json!({ "share_window": "40s" }),
        json!({ "close_rate": { "rebalance": { "settle_time": "11s" } } }),
    ] {
        assert!(!Filter::Node.takes(&json) && Filter::Node.validator()?.is_valid(&json));
    }
    Ok(())
}

#[test]
fn refuse_all_that_the_filters_refuse() -> Result<()> {
    for filter in BOTH {
        let validator = filter.validator()?;
        for Bad { what, bytes } in filter.bad() {
            assert!(filter.parse(&bytes).is_err(), "{what}");
            let (agree, said) = filter.agrees(&validator, &bytes);
            assert!(agree, "{what}: {}", said.chars().take(2000).collect::<String>());
        }
    }
    Ok(())
}

pub const NAMES: &[&str] = &[
    "mode",
    "close_rate",
    "per_second",
    "mean_connection_age",
    "rebalance",
    "settle_time",
    "tolerance",
    "max_per_second",
    "floor",
    "min_connection_age",
    "share",
    "nodes",
    "share_window",
    "lb_timeout",
    "role",
    "id",
    "pool",
    "weight",
    "max_closes_per_second",
    "max_stamps_per_second",
    "drain_timeout",
    "max_drain",
];

const TEXTS: &[&str] =
    &["enforce", "observe", "measured", "http", "connection", "responses", "1s", "1h 30m", "0", ""];

pub fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![json!(0), json!(1), json!(4.0), json!(0.5), json!(-0.0), json!(1e300)]),
        select(TEXTS).prop_map(Value::from),
        // All that durations are made of, in any order.
        "[0-9 .]{0,3}(ns|us|msec|ms|s|min|m|M|h|hrs|d|wk|y|q|)[0-9 ]{0,2}(s|m|)"
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    proptest::collection::vec((select(NAMES).prop_map(str::to_owned), value), 0..5)
        .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into())
}

fn configuration() -> impl Strategy<Value = Value> {
    object(scalar().prop_recursive(3, 24, 4, object))
}

/// One field of ours with a value of any kind, which is right more often than a whole configuration.
fn one_field() -> impl Strategy<Value = Value> {
    (select(NAMES), scalar()).prop_map(|(name, value)| json!({ name: value }))
}

#[test]
fn agree_with_the_filters_on_any_configuration() -> Result<()> {
    let validators = [Filter::Lb.validator()?, Filter::Node.validator()?];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(5000)
    });
    let cases = prop_oneof![configuration(), one_field()];
    runner.run(&cases, |json| {
        for (filter, validator) in BOTH.iter().zip(&validators) {
            let (agree, what) = filter.agrees(validator, json.to_string().as_bytes());
            prop_assert!(agree, "{}", what);
        }
        Ok(())
    })?;
    Ok(())
}
