//! `cargo compare`: the same fleet under each way to have connections closed.
//!
//! Two edges, four nodes and long-lived clients; a third edge joins. Every contender gets the
//! parameters with which it settles in the same time ([`parameters`]), so that what is compared is
//! the cost: closes, above all those that go on once the load is even.

mod contenders;
mod parameters;
mod progress;
mod result;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use self::contenders::{Conditions, EDGES, NODES, REQUESTS_PER_SECOND};
use self::progress::Progress;
use crate::artifacts::workspace;
use crate::fleet::Fleet;
use crate::report::{self, Comparison, ContenderResult};
use crate::run::{self, ClosesOf, Plan, allow_open_files, prepare_folder, unless_signalled};

pub use self::contenders::Contender;

/// The load is measured for so long before the third edge joins, with all clients there.
const BEFORE: Duration = Duration::from_secs(10);
/// "Stays so": the load has to be even for so long to have settled.
const SETTLED_FOR: Duration = Duration::from_secs(10);
/// A contender has so many settle times to settle.
const SETTLE_TIMES: u32 = 3;
/// To start a fleet and to end it, about.
const FLEET_TIME: Duration = Duration::from_secs(5);
/// What `rebalance` can be asked for with its shortest share window.
const SHORTEST_SETTLE_TIME: Duration = Duration::from_secs(20);

/// What the user can choose.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Only these contenders
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum)]
    pub only: Vec<Contender>,
    /// Clients, each with one connection: half HTTP/1.1, half HTTP/2
    #[arg(long, value_name = "N", default_value_t = 900)]
    pub clients: usize,
    /// The time in which the load is to settle; the parameters of all follow from it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub settle_time: Duration,
    /// For how long closes are counted afterwards
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub after: Duration,
    /// Write the result as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report to this file [default: target/spillway-compare.html]
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Plays the run of each contender, and compares.
///
/// # Errors
///
/// Something that is needed is missing, the user has ended it ([`Interrupted`](run::Interrupted)),
/// a file cannot be written, or `rebalance` is among the contenders and did not settle or failed a
/// request. Files are written in the last case also.
pub async fn run(options: &Options) -> Result<()> {
    check(options)?;
    let report_path =
        options.report.clone().unwrap_or_else(|| workspace().join("target/spillway-compare.html"));
    for path in [Some(&report_path), options.json.as_ref()].into_iter().flatten() {
        prepare_folder(path)?;
    }
    allow_open_files(options.clients)?;
    let envoy = run::tools()?;
    let contenders = if options.only.is_empty() {
        Contender::value_variants().to_vec()
    } else {
        options.only.clone()
    };
    announce(options, contenders.len());

    let results = unless_signalled(async {
        let mut results = Vec::new();
        for (i, contender) in contenders.iter().enumerate() {
            let head = format!("[{}/{}] {}", i + 1, contenders.len(), contender.name());
            results.push(play(*contender, options, head).await?);
        }
        Ok(results)
    })
    .await?;

    let comparison = Comparison {
        envoy_version: envoy.version.to_string(),
        clients: options.clients,
        settle_time_s: options.settle_time.as_secs_f64(),
        after_s: options.after.as_secs_f64(),
        requests_per_second_per_client: REQUESTS_PER_SECOND,
        tolerance: run::TOLERANCE,
        contenders: results,
    };
    println!("\n{}", result::table(&comparison.contenders));
    report::write_comparison(&report_path, &comparison)?;
    println!("Report:  {}", report_path.display());
    if let Some(path) = &options.json {
        result::write_json(path, &comparison)?;
        println!("Result:  {}", path.display());
    }
    result::verdict(&comparison.contenders)
}

fn check(options: &Options) -> Result<()> {
    ensure!(options.clients > 0, "there have to be clients");
    ensure!(
        options.settle_time >= SHORTEST_SETTLE_TIME,
        "--settle-time is {}, below the {} that rebalance can be asked for",
        humantime::format_duration(options.settle_time),
        humantime::format_duration(SHORTEST_SETTLE_TIME),
    );
    ensure!(!options.after.is_zero(), "--after has to be more than nothing");
    Ok(())
}

/// The run of one contender, on a fleet of its own.
async fn play(contender: Contender, options: &Options, head: String) -> Result<ContenderResult> {
    let Options { clients, settle_time, after, .. } = *options;
    let setup = contender.setup(Conditions { clients, settle_time });
    println!("{head}: {}", setup.parameters);
    let plan = Plan {
        title: format!("Spillway compare: {}", contender.name()),
        policy: setup.parameters.clone(),
        clients,
        client: contenders::client,
        // The ages of connections are spread evenly over a lifetime before the edge joins.
        start_spread: parameters::fixed_age(settle_time),
        warm_up: warm_up(options),
        settled_for: SETTLED_FOR,
        settle_bound: settle_time * SETTLE_TIMES,
        after,
        closes_of: ClosesOf::Clients,
    };
    let mut fleet = Fleet::start(setup.fleet).await?;
    let record = run::run(&plan, &mut fleet, &mut Progress::new(head)).await?;
    Ok(result::of_run(contender, setup.parameters, clients, &record))
}

fn warm_up(options: &Options) -> Duration {
    parameters::fixed_age(options.settle_time) + BEFORE
}

/// Says what will be done, and how long it takes.
fn announce(options: &Options, contenders: usize) {
    let Options { clients, settle_time, after, .. } = options;
    let each = FLEET_TIME + warm_up(options) + *settle_time + SETTLED_FOR + *after;
    // Nobody knows before who will never settle.
    let minutes = each.as_secs_f64() * contenders as f64 / 60.0;
    println!(
        "Fleet:   {EDGES} edges, {NODES} nodes; a third edge joins\n\
         Clients: {clients}, half HTTP/1.1, half HTTP/2, {REQUESTS_PER_SECOND} request a second each\n\
         Settle:  every contender has the parameters to settle in {}; then closes are counted for {}\n\
         Time:    {contenders} contenders one after the other, about {minutes:.0} minutes",
        humantime::format_duration(*settle_time),
        humantime::format_duration(*after),
    );
}
