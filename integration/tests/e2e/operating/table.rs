//! Each row of the table is played, here or where it is looked at more closely.

use anyhow::{Context, Result};
use integration::artifacts::workspace;

/// Where each row is played, by how its first cell begins.
const PLAYED: [(&str, &str); 20] = [
    ("Envoy does not start, or counts `update_rejected`", "configuration, bad_configuration"),
    ("`spillway_lb_requests` stays 0", "out_of_the_chain, configuration"),
    ("`spillway_node_requests_unstamped` grows, with edges that stamp all", "out_of_the_chain"),
    ("`spillway_node_stamps_malformed` grows", "changed_on_the_way"),
    ("the load is uneven, `spillway_node_pools_closing` is 0", "loads"),
    ("`spillway_node_pools_alone` is not 0", "loads, patent_topology"),
    ("`spillway_node_pools_futile` is not 0", "futility: each cause, and its end"),
    ("closes are observed", "configuration, guard"),
    ("`spillway_node_closes_lapsed` grows", "configuration"),
    (
        "`spillway_node_closes_requested` grows, `spillway_lb_close_requests` does not",
        "changed_on_the_way",
    ),
    ("`spillway_lb_close_requests_malformed` grows", "changed_on_the_way"),
    ("`spillway_lb_closes_refused{reason=\"over_limit\"}` grows", "configuration, guard"),
    (
        "`spillway_lb_closes_refused{reason=\"other_load_balancer\"}` grows",
        "clients_that_stay, protocols/in_a_row",
    ),
    ("`spillway_lb_closes_refused{reason=\"unknown_connection\"}` grows", "clients_that_stay"),
    ("`spillway_lb_connections_without_http_role` grows", "out_of_the_chain, protocols/roles"),
    ("`spillway_lb_closes_not_done` grows", "out_of_the_chain, protocols/roles"),
    ("`spillway_lb_connections_closed` grows as fast", "clients_that_stay"),
    ("`spillway_lb_connections_cut` grows", "clients_that_stay, protocols/http1"),
    // No Envoy here refuses a call that the filters make: tests/host_calls has a host that does.
    ("`spillway_lb_host_errors` or `spillway_node_host_errors` grows", "host_calls"),
    ("requests fail when connections are closed", "clients/own_faults"),
];

#[test]
fn every_row_is_played() -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("docs/operating.md"))?;
    let table = text.split("| what you see | why | what to do |\n").nth(1).context("no table")?;
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let mut seen: Vec<_> = rows.filter_map(|row| row.strip_prefix("| ")).collect();
    for (begins, played) in PLAYED {
        let row = seen.iter().position(|row| row.starts_with(begins));
        seen.remove(row.with_context(|| format!("{begins} is no row, and played by {played}"))?);
    }
    assert!(seen.is_empty(), "no test plays {seen:#?}");
    Ok(())
}
