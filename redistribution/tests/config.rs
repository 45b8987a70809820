//! Both configurations, whatever JSON comes in: it is taken, or every mistake in it is named.
#![cfg(not(target_family = "wasm"))]

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;
use redistribution::config::{LbConfig, Mistakes, NodeConfig};
use redistribution::wire::is_valid_name;
use serde_json::{Map, Value, json};

const FIELDS: &[&str] = &[
    "mode",
    "close_rate",
    "per_second",
    "mean_connection_age",
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
];

const VALUES: &[&str] = &[
    "enforce",
    "observe",
    "measured",
    "http",
    "connection",
    "1s",
    "10s",
    "1h 30m",
    "0s",
    "-1s",
    "99999999999y",
    "18446744073709551616s",
    "1",
    "s",
    "",
];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![json!(0), json!(1), json!(4.0), json!(0.5), json!(-0.0), json!(1e300)]),
        select(VALUES).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ]
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let name = prop_oneof![9 => select(FIELDS).prop_map(str::to_owned), 1 => any::<String>()];
    proptest::collection::vec((name, value), 0..8)
        .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()))
}

fn json() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 64, 8, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
        prop_oneof![3 => object(inner), 1 => list]
    })
}

fn check_mistakes(mistakes: &Mistakes, is_object: bool) -> Result<(), TestCaseError> {
    prop_assert!(!mistakes.as_slice().is_empty());
    for mistake in mistakes.as_slice() {
        // Only what is wrong with the configuration as a whole has no path.
        prop_assert_eq!(mistake.path.is_empty(), !is_object, "{:?}", mistake);
        prop_assert!(!mistake.reason.is_empty(), "{:?}", mistake);
        let line = mistake.to_string();
        prop_assert!(line.len() < 1000 && !line.contains(['\n', '\r']), "{:?}", line);
    }
    let lines = mistakes.to_string().lines().count();
    prop_assert_eq!(lines, mistakes.as_slice().len() + 1);
    Ok(())
}

/// What is taken is in range; what is not has its mistakes.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let parsed = serde_json::from_slice::<Value>(bytes);
    let is_object = parsed.is_ok_and(|value| value.is_object());
    match NodeConfig::parse(bytes) {
        Err(mistakes) => check_mistakes(&mistakes, is_object)?,
        Ok(config) => {
            prop_assert!(config.share_window >= Duration::from_secs(1));
            prop_assert!(config.lb_timeout >= config.share_window);
            prop_assert!(config.min_connection_age <= Duration::from_hours(24));
        }
    }
    match LbConfig::parse(bytes) {
        Err(mistakes) => check_mistakes(&mistakes, is_object)?,
        Ok(config) => {
            prop_assert!(config.id.as_deref().is_none_or(is_valid_name));
            prop_assert!(is_valid_name(&config.pool));
            prop_assert!((0.001..=1e6).contains(&config.weight));
            prop_assert!((0.001..=1e5).contains(&config.max_closes_per_second.get()));
            prop_assert!((1.0..=1e6).contains(&config.max_stamps_per_second.get()));
            prop_assert!(config.drain_timeout >= Duration::from_millis(100));
        }
    }
    Ok(())
}

/// A field that is not one of ours, put among others that are right.
fn with_unknown(fields: &Value, name: &str) -> Vec<u8> {
    let mut fields = fields.clone();
    fields[name] = json!(1);
    fields.to_string().into_bytes()
}

#[test]
fn depth_is_no_way_to_exhaust_the_stack() {
    for depth in [100, 127, 128, 129, 100_000] {
        check("[".repeat(depth).as_bytes()).unwrap();
        check("{\"share\":".repeat(depth).as_bytes()).unwrap();
        let whole = "{\"share\":".repeat(depth) + "1" + &"}".repeat(depth);
        check(whole.as_bytes()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_json_is_taken_or_its_mistakes_are_named(value in json()) {
        check(value.to_string().as_bytes())?;
    }

    #[test]
    fn any_object_of_our_fields_is_taken_or_its_mistakes_are_named(value in object(json())) {
        check(value.to_string().as_bytes())?;
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        check(&bytes)?;
    }

    #[test]
    fn what_is_in_range_is_taken(
        rate in 0.0..=10_000.0,
        window in 1..=3600_u64,
        nodes in 1..=1_000_000_u32,
        weight in 0.001..=1e6,
    ) {
        let node = json!({
            "close_rate": { "per_second": rate },
            "share": { "nodes": nodes },
            "share_window": format!("{window}s"),
            "lb_timeout": format!("{}s", window + 1),
        });
        let config = NodeConfig::parse(node.to_string().as_bytes()).unwrap();
        prop_assert_eq!(config.share_window, Duration::from_secs(window));
        let lb = json!({ "weight": weight, "max_closes_per_second": 5, "role": "connection" });
        prop_assert!(LbConfig::parse(lb.to_string().as_bytes()).is_ok());
        for unknown in [with_unknown(&node, "x"), with_unknown(&lb, "x")] {
            let found = (NodeConfig::parse(&unknown).is_err(), LbConfig::parse(&unknown).is_err());
            prop_assert_eq!(found, (true, true));
        }
    }
}
