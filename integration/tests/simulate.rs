//! `cargo simulate` as a user runs it: what it leaves behind, and what it refuses.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use serde_json::Value;

/// Runs the binary, and gives back what it said and the JSON that it left, if it did.
fn simulate(directory: &Path, options: &[&str]) -> Result<(Output, Option<Value>)> {
    let (json, report) = (directory.join("result.json"), directory.join("reports/report.html"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_spillway"));
    command.arg("simulate").args(options).arg("--json").arg(&json).arg("--report").arg(&report);
    let output = command.output()?;
    let result = match std::fs::read_to_string(&json) {
        Ok(text) => Some(serde_json::from_str(&text)?),
        Err(_) => None,
    };
    Ok((output, result))
}

/// The same, where it is to settle.
fn settles(options: &[&str]) -> Result<(String, Value)> {
    let directory = tempfile::tempdir()?;
    let (output, result) = simulate(directory.path(), options)?;
    ensure!(output.status.success(), "{output:?}");
    let html = std::fs::read_to_string(directory.path().join("reports/report.html"))?;
    assert_eq!(html.matches("<svg").count(), 3, "the charts");
    assert!(!html.contains("NaN"), "a number got lost");
    Ok((String::from_utf8(output.stdout)?, result.unwrap_or_default()))
}

/// A result but for how long it took and what memory.
fn without_the_machine(mut result: Value) -> Value {
    for measured in ["wall_s", "peak_rss_mib"] {
        assert!(result[measured].as_f64() > Some(0.0), "{result}");
        result[measured].take();
    }
    result
}

#[test]
fn without_options_one_joins_two_and_the_same_seed_gives_the_same_result() -> Result<()> {
    let (said, result) = settles(&[])?;
    assert!(said.contains("settled in ") && said.contains("Report:  "), "{said}");
    assert!(said.contains("every request and every node is followed"), "{said}");
    for (field, value) in [("lbs", 3), ("nodes", 4), ("connections", 6_000), ("seed", 1)] {
        assert_eq!(result[field], value, "{field}: {result}");
    }
    let number = |field: &str| result[field].as_f64().unwrap_or(f64::NAN);
    assert!((20.0..120.0).contains(&number("settle_s")), "{result}");
    let least = number("closes_floor");
    assert!((5_399.0..=5_401.0).contains(&least), "{least}");
    let part = number("closes") / least;
    assert!((0.7..1.3).contains(&part) && (number("closes_per_floor") - part).abs() < 1e-9);
    assert!((1.0..10.0).contains(&number("most_closes_of_a_client")), "{result}");
    assert!((0.0..0.3).contains(&number("overshoot")), "{result}");
    assert!(result["closes_later"]["after_settled"].is_number(), "{result}");
    assert!(result["closes_later"]["after_twice_settle_time"].is_number(), "{result}");
    assert_eq!(result["settle_time_s"], 60.0);
    assert_eq!(result["policy"]["close_rate"]["rebalance"]["settle_time"], "1m");
    assert!(result["aggregated"]["nodes"].is_null() && result["runs"].is_null(), "{result}");

    let (_, again) = settles(&[])?;
    assert_eq!(without_the_machine(result), without_the_machine(again));
    Ok(())
}

#[test]
fn several_runs_have_their_medians_and_one_that_is_restarted_gets_its_part_again() -> Result<()> {
    let options =
        ["--restart", "--lbs", "3", "--runs", "2", "--seed", "7", "--load", "exponential"];
    let (said, result) = settles(&options)?;
    assert!(said.contains("seed 7: ") && said.contains("seed 8: "), "{said}");
    let runs = result["runs"].as_array().cloned().unwrap_or_default();
    assert_eq!(runs.iter().map(|run| &run["seed"]).collect::<Vec<_>>(), [7, 8]);
    let closes: Vec<_> = runs.iter().filter_map(|run| run["closes"].as_f64()).collect();
    assert_eq!(result["closes"].as_f64(), Some(f64::midpoint(closes[0], closes[1])));
    assert_eq!(result["lbs"], 3);
    assert!(result["closes_floor"].as_f64() > Some(4_000.0), "{result}");
    Ok(())
}

#[test]
fn what_does_not_settle_is_told_and_leaves_its_result_all_the_same() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let policy = r#"{"close_rate": {"per_second": 0}}"#;
    let options = ["--policy", policy, "--warm-up", "5s", "--after", "20s"];
    let (output, result) = simulate(directory.path(), &options)?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8(output.stderr)?;
    assert_eq!(errors, "spillway: the load did not settle within 20s (seed 1)\n");
    let result = result.unwrap_or_default();
    assert!(result["settle_s"].is_null() && result["settle_time_s"].is_null(), "{result}");
    assert_eq!(result["closes"], 0);
    assert_eq!(result["policy"]["close_rate"]["per_second"], 0);
    Ok(())
}

#[test]
fn what_cannot_be_had_is_refused_with_the_reason() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let cases: &[(&[&str], &str)] = &[
        (&["--lbs", "0"], "--lbs: there must be one at least"),
        (&["--lbs", "1", "--restart"], "--restart needs two --lbs"),
        (&["--join", "2", "--restart"], "cannot be used with"),
        (&["--lbs", "1024"], "1025 load balancers are more than the 1024"),
        (&["--connections", "0"], "--connections must be from 1"),
        (&["--weights", "1,-1"], "--weights must be from 0.001"),
        (&["--requests-per-connection", "nan"], "--requests-per-connection must be"),
        (&["--dns-ttl", "30s"], "--dns-ttl needs --resolvers"),
        (&["--after", "1s"], "--after must be 10 seconds at least"),
        (&["--settle-time", "20"], "time unit needed"),
        (&["--settle-time", "20s"], "settle_time (20s) must be at least 20 times share_window"),
        (&["--policy", "{\"mode\": 1}"], "mode: 1: must be \"enforce\" or"),
        (&["--policy", "{}", "--settle-time", "60s"], "cannot be used with"),
        (&["--load", "heavy"], "possible values: equal, exponential, pareto"),
    ];
    for (options, reason) in cases {
        let (output, result) = simulate(directory.path(), options)?;
        let errors = String::from_utf8(output.stderr)?;
        assert!(!output.status.success() && result.is_none(), "{options:?}");
        assert!(errors.contains(reason), "{options:?}: {errors}");
    }
    Ok(())
}

/// A tenth of the largest that is meant to fit: the time of that belongs in no test.
#[test]
fn a_thousand_load_balancers_and_a_million_connections_fit() -> Result<()> {
    let options = ["--lbs", "1000", "--join", "10", "--nodes", "10000", "--connections", "1000000"];
    let times = ["--warm-up", "10s", "--after", "80s"];
    let (said, result) = settles(&[&options[..], &times[..]].concat())?;
    assert!(said.contains("2 modelled nodes stand for 10,000; a stamp stands for up to"), "{said}");
    assert!(result["peak_rss_mib"].as_f64() < Some(8_192.0), "{result}");
    assert_eq!(result["aggregated"]["nodes"], 2);
    assert!(result["aggregated"]["requests_per_stamp"].as_u64() >= Some(50), "{result}");
    Ok(())
}
