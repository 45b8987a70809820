//! The report of `cargo overhead`: what each contender costs, as bars and as tables.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::charts::edge_class;
use super::html::{escape, figure, foot, head};

/// What was measured, as `--json` writes it (design.md, section 9).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overhead {
    /// Such as `1.40.0`.
    pub envoy_version: String,
    /// The day, as `2026-01-31`.
    pub date: String,
    /// What it was measured on.
    pub machine: Machine,
    /// Rounds, in which the contenders took turns.
    pub rounds: usize,
    /// How long each had load in each of them.
    pub round_s: f64,
    /// One for each, in the order of the command.
    pub contenders: Vec<Measured>,
    /// How they compare within the run.
    pub ratios: Vec<Ratio>,
    /// With many connections; empty where that was left out.
    pub scale: Vec<Scale>,
}

/// A contender with many connections on its one worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scale {
    /// What it is called.
    pub name: String,
    /// Connections wanted.
    pub wanted: u64,
    /// Connections that there were: as many as one process may have.
    pub connections: u64,
    /// Connections that the filter says are open, where it counts them.
    pub tracked: Option<u64>,
    /// Resident memory that each connection adds to the process.
    pub bytes_per_connection: f64,
    /// CPU time of the process for each second without a request.
    pub idle_cpu_us_per_second: f64,
    /// The longest turn of the worker's event loop meanwhile.
    pub longest_turn_idle_us: f64,
    /// The same where one connection in twenty has a request a second.
    pub longest_turn_active_us: f64,
}

/// The machine and its programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many of them.
    pub cores: usize,
    /// The kernel's version.
    pub kernel: String,
    /// The compiler of the filters.
    pub rustc: String,
}

/// A number over all rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least one.
    pub min: f64,
    /// The largest one.
    pub max: f64,
}

/// A contender.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub words: String,
    /// CPU time of the Envoy process for each request, with the first workload.
    pub cpu_us_per_request: Spread,
    /// Requests per second, with the first workload.
    pub rps: f64,
    /// Resident memory of its Envoy after all rounds.
    pub rss_kib: u64,
    /// Resident memory that each worker adds, beyond what it adds without a filter.
    pub vm_kib: Option<f64>,
    /// From the start of the process until it was ready.
    pub start_ms: f64,
    /// By workload.
    pub workloads: Vec<Cost>,
}

/// What a contender cost with a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// The workload.
    pub workload: String,
    /// CPU time of the Envoy process for each request.
    pub cpu_us_per_request: Spread,
    /// The same, less what no filter took in the same round.
    pub added_us_per_request: Option<Spread>,
    /// Requests per second.
    pub rps: Spread,
    /// Latencies, the medians over all rounds.
    pub p50_us: f64,
    /// 99 % were not longer.
    pub p99_us: f64,
    /// 99.9 % were not longer.
    pub p999_us: f64,
    /// Requests and connections that failed, in all rounds.
    pub errors: u64,
}

/// How two contenders compare: what one adds to no filter over what the other adds; or over what a
/// request costs without a filter.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Ratio {
    /// The workload.
    pub workload: String,
    /// What is compared.
    pub of: String,
    /// With what.
    pub to: String,
    /// The medians of what they add, one over the other.
    pub ratio: f64,
}

/// Writes the report to `path`.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(path: &Path, overhead: &Overhead) -> Result<()> {
    let page = page(overhead)?;
    fs::write(path, page).with_context(|| format!("cannot write the report {}", path.display()))
}

fn page(overhead: &Overhead) -> Result<String> {
    let deck = format!(
        "CPU time of the Envoy process for each request, one worker: medians of {} rounds of {:.0} s, in which \
         the contenders took turns.",
        overhead.rounds, overhead.round_s
    );
    let mut html = head("Spillway overhead", &headline(overhead), &deck);
    let Machine { cpu, cores, kernel, rustc } = &overhead.machine;
    let _ = write!(html, "<dl class=\"facts\">");
    for (name, value) in [
        ("Envoy", &overhead.envoy_version),
        ("Date", &overhead.date),
        ("CPU", &format!("{cores} x {cpu}")),
        ("Linux", kernel),
        ("Rust", rustc),
    ] {
        let _ = write!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(value));
    }
    html.push_str("</dl>\n");
    for workload in overhead.workloads() {
        let title = format!("CPU per request: {workload}");
        figure(
            &mut html,
            &title,
            "Microseconds; median, and least to most.",
            &bars(overhead, &workload),
        );
        let legend = "Added: less what no filter took in the same round.";
        figure(&mut html, &format!("All numbers: {workload}"), legend, &table(overhead, &workload));
    }
    html.push_str(&foot("CPU time is that of all threads of the process.", overhead)?);
    Ok(html)
}

/// What Spillway adds over what the empty filter adds, in a sentence.
fn headline(overhead: &Overhead) -> String {
    let both =
        overhead.ratios.iter().find(|r| r.of == "lb_both_roles" && r.to == "empty_sdk_filter");
    both.map_or_else(
        || "What each filter costs".to_owned(),
        |both| {
            format!(
                "Both roles at the edge cost {:.2} times what an empty filter of the SDK costs",
                both.ratio
            )
        },
    )
}

fn bars(overhead: &Overhead, workload: &str) -> String {
    let costs = || overhead.costs(workload);
    let highest = costs().map(|(_, _, cost)| cost.cpu_us_per_request.max).fold(0.0, f64::max);
    let mut html = String::from("<div class=\"bars\">\n");
    for (i, contender, cost) in costs() {
        let Spread { median, min, max } = cost.cpu_us_per_request;
        let width = if highest > 0.0 { median / highest * 100.0 } else { 0.0 };
        let _ = writeln!(
            html,
            "<span>{}</span><div class=\"load {}\"><div style=\"width:{width:.2}%\"></div></div>\
             <strong>{median:.1} <small>({min:.1} to {max:.1})</small></strong>",
            escape(&contender.name),
            edge_class(i),
        );
    }
    html.push_str("</div>\n");
    html
}

fn table(overhead: &Overhead, workload: &str) -> String {
    let mut html = String::from(
        "<table class=\"contenders\"><thead><tr><th scope=\"col\">Contender</th><th scope=\"col\">Added us</th>\
         <th scope=\"col\">Requests/s</th><th scope=\"col\">p50 us</th><th scope=\"col\">p99 us</th>\
         <th scope=\"col\">p99.9 us</th><th scope=\"col\">RSS MiB</th></tr></thead><tbody>\n",
    );
    for (i, contender, cost) in overhead.costs(workload) {
        let added = cost
            .added_us_per_request
            .map_or("–".to_owned(), |added| format!("{:.2}", added.median));
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\" class=\"{}\"><i class=\"dot\"></i>{}<small>{}</small></th><td>{added}</td>\
             <td>{:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{:.0}</td><td>{:.1}</td></tr>",
            edge_class(i),
            escape(&contender.name),
            escape(&contender.words),
            cost.rps.median,
            cost.p50_us,
            cost.p99_us,
            cost.p999_us,
            contender.rss_kib as f64 / 1024.0,
        );
    }
    html.push_str("</tbody></table>\n");
    html
}

// === impl Overhead ===

impl Overhead {
    /// The workloads, in order.
    pub(crate) fn workloads(&self) -> Vec<String> {
        let mut names = Vec::new();
        for cost in self.contenders.iter().flat_map(|contender| &contender.workloads) {
            if !names.contains(&cost.workload) {
                names.push(cost.workload.clone());
            }
        }
        names
    }

    /// Who took part in one, by number.
    pub(crate) fn costs<'a>(
        &'a self,
        workload: &'a str,
    ) -> impl Iterator<Item = (usize, &'a Measured, &'a Cost)> {
        self.contenders.iter().enumerate().filter_map(move |(i, contender)| {
            let cost = contender.workloads.iter().find(|cost| cost.workload == workload)?;
            Some((i, contender, cost))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_file_with_every_contender() {
        let cost = Cost { workload: "http1_small".to_owned(), ..Cost::default() };
        let contender = |name: &str| Measured {
            name: name.to_owned(),
            words: "<empty>".to_owned(),
            workloads: vec![cost.clone()],
            ..Measured::default()
        };
        let contenders = vec![contender("no_filter"), contender("lua")];
        let html = page(&Overhead { contenders, ..Overhead::default() }).expect("a page");
        for remote in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!html.contains(remote), "the report refers to {remote}");
        }
        assert!(html.contains("no_filter") && html.contains("lua") && !html.contains("<empty>"));
        assert!(!html.contains("NaN"), "a number got lost");
    }
}
