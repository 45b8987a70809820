//! `cargo demo`: a real fleet gets a third edge, and the load of its clients spreads.
//!
//! Two edges, four nodes and long-lived clients run on this machine. A third edge joins; without
//! Spillway it would get nothing, since connections stay where they are. The run is shown live
//! and leaves a report and a JSON result. It fails if a single request does.

mod result;
mod scenario;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::artifacts::workspace;
use crate::fleet::Fleet;
use crate::run::{self, allow_open_files, prepare_folder, unless_signalled};
use crate::{live, report};

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
    /// Write the course of the load as a picture (SVG) to this file
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
}

/// Plays the demo from building the filters to writing the report.
///
/// # Errors
///
/// Something that is needed is missing, the user has ended it ([`Interrupted`](run::Interrupted)), a file cannot
/// be written, a request failed, or the load did not settle. Files are written in the last two
/// cases also.
pub async fn run(options: &Options) -> Result<()> {
    let report_path =
        options.report.clone().unwrap_or_else(|| workspace().join("target/spillway-demo.html"));
    let files = [Some(&report_path), options.json.as_ref(), options.picture.as_ref()];
    for path in files.into_iter().flatten() {
        prepare_folder(path)?;
    }
    allow_open_files(scenario::CLIENTS)?;
    run::tools()?;

    let record = unless_signalled(async {
        println!("Fleet:   starting {} nodes and {} edges", scenario::NODES, scenario::EDGES);
        let mut fleet = Fleet::start(scenario::fleet()).await?;
        announce(&fleet);
        let mut view = live::choose(options.headless)?;
        let record = run::run(&scenario::plan(), &mut fleet, view.as_mut()).await?;
        view.finish(&result::summary(&record));
        Ok(record)
    })
    .await?;

    let summary = result::summary(&record);
    report::write(&report_path, &record.timeline, &summary)?;
    println!("Report:  {}", report_path.display());
    if let Some(path) = &options.picture {
        report::write_picture(path, &record.timeline, &summary)?;
        println!("Picture: {}", path.display());
    }
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
