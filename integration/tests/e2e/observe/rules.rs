//! The rules for Prometheus hold by its own tool, and alerts fire where they should.

use std::process::Command;

use anyhow::{Result, ensure};
use integration::artifacts::workspace;
use integration::tools::Prometheus;

fn promtool(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(Prometheus::locate()?.promtool);
    command.args(arguments).current_dir(workspace().join("envoy-configs/prometheus"));
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

#[test]
fn the_configuration_is_sound_and_names_the_rules() -> Result<()> {
    let said = promtool(&["check", "config", "prometheus.yaml"])?;
    assert!(said.contains("1 rule files found"), "{said}");
    promtool(&["check", "rules", "alerts.yaml"])?;
    Ok(())
}

#[test]
fn each_alert_has_a_test_that_holds() -> Result<()> {
    let read =
        |file| std::fs::read_to_string(workspace().join("envoy-configs/prometheus").join(file));
    let (rules, tests) = (read("alerts.yaml")?, read("alerts_test.yaml")?);
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.split("- alert: ").nth(1)).collect();
    assert!(alerts.len() >= 8, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(alert), "no test of {alert}");
    }
    promtool(&["test", "rules", "alerts_test.yaml"])?;
    Ok(())
}
