//! `cargo overhead`: what a filter costs each request.
//!
//! Host calls and callbacks are what a filter costs, and what a machine does otherwise changes from
//! minute to minute. So all contenders are measured in turn, round by round, and what one adds is taken
//! against no filter in the same round.

mod contenders;
mod document;
mod load;
mod result;
mod rounds;
mod routes;
mod scale;
mod workloads;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use self::result::Entry;
use self::rounds::{Field, Things, kib_per_worker};
use crate::artifacts::{empty_filter, filters, workspace};
use crate::report::{self, Machine, Overhead, Scale};
use crate::run::{self, prepare_folder, unless_signalled};
use crate::tools::version;

pub use self::contenders::Contender;
pub use self::workloads::Workload;

/// What a short run has instead.
const SHORT_ROUNDS: usize = 1;
const SHORT_ROUND_S: u64 = 1;
const SHORT_CONNECTIONS: usize = 0;

/// What the user can choose.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Only these contenders
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum)]
    pub only: Vec<Contender>,
    /// Only these workloads
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum)]
    pub workloads: Vec<Workload>,
    /// Rounds in which every contender has every workload
    #[arg(long, value_name = "N", default_value_t = 7)]
    pub rounds: usize,
    /// Seconds of load in each of them
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub round_seconds: u64,
    /// Connections for the look at many of them; as many as one process may have if that is less
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub connections: usize,
    /// One round of a second, and no memory per VM: to see that it works, not what it costs
    #[arg(long)]
    pub short: bool,
    /// Write docs/performance.md
    #[arg(long)]
    pub write_docs: bool,
    /// Write the result as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report to this file [default: target/spillway-overhead.html]
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// Measures all contenders, and compares.
///
/// # Errors
///
/// Something that is needed is missing, the user has ended it ([`Interrupted`](run::Interrupted)), a file
/// cannot be written, or a client failed.
pub async fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0, "--rounds has to be more than nothing");
    ensure!(options.round_seconds > 0, "--round-seconds has to be more than nothing");
    let report_path =
        options.report.clone().unwrap_or_else(|| workspace().join("target/spillway-overhead.html"));
    for path in [Some(&report_path), options.json.as_ref()].into_iter().flatten() {
        prepare_folder(path)?;
    }
    let binary = run::tools()?;
    let (directory, empty_filter) = (filters()?.directory, empty_filter()?);
    let folder = tempfile::tempdir()?;
    let things = Things {
        binary: &binary,
        filters: &directory,
        empty_filter: &empty_filter,
        folder: folder.path(),
    };
    let (entries, scale) = unless_signalled(measure(options, things)).await?;
    let contenders = result::measured(&entries);
    let overhead = Overhead {
        envoy_version: binary.version.to_string(),
        date: version(Command::new("date").arg("+%F"))?,
        machine: machine()?,
        rounds: options.rounds(),
        round_s: options.round().as_secs_f64(),
        ratios: result::ratios(&contenders),
        contenders,
        scale,
    };
    let document = document::document(&overhead);
    println!("\n{document}");
    if options.write_docs {
        let path = workspace().join("docs/performance.md");
        std::fs::write(&path, document)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("Docs:    {}", path.display());
    }
    report::write_overhead(&report_path, &overhead)?;
    println!("Report:  {}", report_path.display());
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&overhead)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("Result:  {}", path.display());
    }
    Ok(())
}

async fn measure(options: &Options, things: Things<'_>) -> Result<(Vec<Entry>, Vec<Scale>)> {
    let all = |chosen: &[Contender]| match chosen {
        [] => Contender::value_variants().to_vec(),
        some => some.to_vec(),
    };
    let workloads = match options.workloads.as_slice() {
        [] => Workload::value_variants().to_vec(),
        some => some.to_vec(),
    };
    let mut entries: Vec<_> = all(&options.only)
        .into_iter()
        .map(|contender| Entry {
            contender,
            samples: Vec::new(),
            rss_kib: 0,
            start_ms: 0.0,
            kib_per_worker: None,
        })
        .collect();
    // Some have to be configured for closes: those are other Envoys.
    for closes in [false, true] {
        let workloads: Vec<_> =
            workloads.iter().copied().filter(|workload| workload.closes() == closes).collect();
        if !workloads.is_empty() {
            play(options, things, &workloads, closes, &mut entries).await?;
        }
    }
    if !options.short {
        for entry in &mut entries {
            println!("{}: memory of each worker", entry.contender.name());
            entry.kib_per_worker = Some(kib_per_worker(things, entry.contender).await?);
        }
    }
    let mut scale = Vec::new();
    let connections = if options.short { SHORT_CONNECTIONS } else { options.connections };
    for contender in [Contender::NoFilter, Contender::LbHttpRole, Contender::LbBothRoles] {
        if entries.iter().any(|entry| entry.contender == contender) && connections > 0 {
            println!("{}: many connections", contender.name());
            scale.push(scale::measure(things, contender, connections).await?);
        }
    }
    Ok((entries, scale))
}

/// All rounds of some workloads.
async fn play(
    options: &Options,
    things: Things<'_>,
    workloads: &[Workload],
    closes: bool,
    entries: &mut [Entry],
) -> Result<()> {
    let contenders: Vec<_> = entries
        .iter()
        .map(|entry| entry.contender)
        .filter(|contender| !closes || contender.can_meet_closes())
        .collect();
    let field = Field::start(things, &contenders, closes).await?;
    for round in 0..options.rounds() {
        for workload in workloads {
            let (turn, count) = (round % contenders.len(), contenders.len());
            // Who comes first differs from round to round.
            let order = (0..count).map(|place| &field.running[(place + turn) % count]);
            for running in order.filter(|running| workload.concerns(running.contender)) {
                let sample = running.play(*workload, options.round(), things.folder).await?;
                println!(
                    "[{}/{}] {:<20} {:<24} {:>8.2} us  {:>8.0}/s",
                    round + 1,
                    options.rounds(),
                    workload.name(),
                    running.contender.name(),
                    sample.cpu_us_per_request,
                    sample.requests_per_second,
                );
                let entry = entries.iter_mut().find(|entry| entry.contender == running.contender);
                let samples = &mut entry.context("nobody")?.samples;
                match samples.iter_mut().find(|(known, _)| known == workload) {
                    Some((_, samples)) => samples.push(sample),
                    None => samples.push((*workload, vec![sample])),
                }
            }
        }
    }
    for running in &field.running {
        let entry = entries.iter_mut().find(|entry| entry.contender == running.contender);
        let entry = entry.context("nobody")?;
        entry.rss_kib = entry.rss_kib.max(running.envoy.rss_kib()?);
        entry.start_ms = running.envoy.initialization_ms().await?;
    }
    Ok(())
}

fn machine() -> Result<Machine> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
    Ok(Machine {
        cpu: name.unwrap_or("unknown").trim().to_owned(),
        cores: std::thread::available_parallelism()?.get(),
        kernel: version(Command::new("uname").arg("-r"))?,
        rustc: version(Command::new("rustc").arg("--version").current_dir(workspace()))?,
    })
}

// === impl Options ===

impl Options {
    fn rounds(&self) -> usize {
        if self.short { SHORT_ROUNDS } else { self.rounds }
    }

    fn round(&self) -> Duration {
        Duration::from_secs(if self.short { SHORT_ROUND_S } else { self.round_seconds })
    }
}
