//! `cargo demo`: a real fleet gets a third edge, and the load of its clients spreads.
//!
//! Two edges, four nodes and long-lived clients run on this machine. A third edge joins; without
//! Spillway it would get nothing, since connections stay where they are. The run is shown live
//! and leaves a report and a JSON result. It fails if a single request does.

mod course;
mod interrupt;
mod result;
mod sampler;
mod scenario;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

pub use interrupt::Interrupted;

use crate::artifacts::{filters, workspace};
use crate::envoy::locate;
use crate::fleet::Fleet;
use crate::{live, report};

/// Files a process may have open besides one for each client: logs, DNS, upstream connections.
const FILES_BESIDES: u64 = 512;

/// What the user can choose.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Print lines instead of filling the terminal (the default where there is no terminal)
    #[arg(long)]
    pub headless: bool,
    /// Write the result as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report to this file [default: target/spillway-demo.html]
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Plays the demo from building the filters to writing the report.
///
/// # Errors
///
/// Something that is needed is missing, the user has ended it ([`Interrupted`]), a file cannot
/// be written, a request failed, or the load did not settle. Files are written in the last two
/// cases also.
pub async fn run(options: &Options) -> Result<()> {
    let report_path =
        options.report.clone().unwrap_or_else(|| workspace().join("target/spillway-demo.html"));
    for path in [Some(&report_path), options.json.as_ref()].into_iter().flatten() {
        prepare_folder(path)?;
    }
    allow_open_files(scenario::CLIENTS as u64 + FILES_BESIDES)?;
    // Not under `unless_signalled`: until something runs, Ctrl-C may simply end us.
    println!("Filters: building what has changed");
    let filters = filters()?;
    println!("Filters: {}", filters.directory.display());
    let envoy = locate()?;
    println!("Envoy:   {} ({})", envoy.version, envoy.path.display());

    let record = interrupt::unless_signalled(async {
        println!("Fleet:   starting {} nodes and {} edges", scenario::NODES, scenario::EDGES);
        let mut fleet = Fleet::start(scenario::fleet()).await?;
        announce(&fleet);
        let mut view = live::choose(options.headless)?;
        let record = course::run(&mut fleet, view.as_mut()).await?;
        view.finish(&result::summary(&record));
        Ok(record)
    })
    .await?;

    let summary = result::summary(&record);
    report::write(&report_path, &record.timeline, &summary)?;
    println!("Report:  {}", report_path.display());
    if let Some(path) = &options.json {
        result::write_json(path, &record, &summary)?;
        println!("Result:  {}", path.display());
    }
    result::verdict(&record, &summary)
}

/// Says what runs where.
fn announce(fleet: &Fleet) {
    for edge in fleet.edges() {
        println!("         {} on {}", edge.name, edge.address);
    }
    for node in fleet.nodes() {
        println!("         {} on {}", node.name, node.address);
    }
    let (slowest, fastest) = scenario::PACES_PER_SECOND;
    println!("DNS:     {} on {}", crate::fleet::NAME, fleet.dns().address());
    println!(
        "Clients: {}, half HTTP/1.1, half HTTP/2, {slowest} to {fastest} requests a second each",
        scenario::CLIENTS
    );
    println!("Policy:  {}", scenario::policy_in_words());
}

/// Makes the folder that a file is to be written to: better now than at the end of the run.
fn prepare_folder(file: &std::path::Path) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder)
        .with_context(|| format!("there is no folder for {}", file.display()))?;
    ensure!(!file.is_dir(), "{} is a folder; name a file", file.display());
    Ok(())
}

/// Raises the limit of open files as far as this process may; Envoys inherit it.
fn allow_open_files(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(
        hard >= needed,
        "the demo needs {needed} open files, and the limit is {hard}; raise it (`ulimit -Hn`)"
    );
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(needed), hard)
            .context("cannot raise the limit of open files")?;
    }
    Ok(())
}
