//! `cargo simulate`: the code of `redistribution` at fleet size, in simulated time.
//!
//! A thousand edges do not fit on one machine, and a policy that is good for three may be bad for
//! them. So the very code that decides in the filters runs among simulated clients, DNS and edges
//! ([`simulation`]), and leaves the same kind of result and report as the demo on real Envoys.

mod aggregation;
mod chronicle;
mod options;
mod play;
mod result;

use anyhow::Result;

use crate::artifacts::workspace;
use crate::report::{self, grouped};
use crate::run::prepare_folder;

pub use options::{Load, Options};

/// Plays a fleet's change in simulated time, once or for several seeds.
///
/// # Errors
///
/// The options make no sense, a file cannot be written, or the load did not settle. Files are
/// written in the last case also.
pub fn run(options: &Options) -> Result<()> {
    let plan = options.plan()?;
    let report =
        options.report.clone().unwrap_or_else(|| workspace().join("target/spillway-simulate.html"));
    for path in [Some(&report), options.json.as_ref()].into_iter().flatten() {
        prepare_folder(path)?;
    }
    println!(
        "Fleet:   {} load balancers, {} nodes, {} connections",
        grouped(options.lbs as u64),
        grouped(options.nodes as u64),
        grouped(options.connections as u64),
    );
    println!("Policy:  {}", plan.policy);
    let mut first = None;
    let mut runs = Vec::new();
    for seed in (0..u64::from(options.runs)).map(|number| options.seed.wrapping_add(number)) {
        let record = play::play(&plan, seed);
        if options.runs > 1 {
            println!("seed {seed}: {}", result::line(&record.run));
        }
        runs.push(record.run.clone());
        first.get_or_insert(record);
    }
    let (Some(first), Some(medians)) = (first, result::medians(&runs)) else {
        anyhow::bail!("no run took place");
    };
    let median = if options.runs > 1 { "median: " } else { "" };
    println!("{median}{}", result::line(&medians));
    println!("aggregated: {}", medians.aggregated.in_words(options.nodes));
    println!("took {:.1} s and {:.0} MiB", medians.wall_s, medians.peak_rss_mib);

    let (timeline, summary) = chronicle::chronicle(&plan, &first);
    report::write(&report, &timeline, &summary)?;
    println!("Report:  {}", report.display());
    if let Some(path) = &options.json {
        result::write_json(path, &plan, &medians, &runs)?;
        println!("Result:  {}", path.display());
    }
    result::verdict(&plan, &runs)
}
