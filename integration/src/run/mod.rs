//! What the commands that play a run on a fleet share: its course, its samples, its early end.
//!
//! `cargo demo` plays one, `cargo compare` one for each way to move connections. What counts as
//! even and how load is measured stands here, so that all of them are judged alike.

mod course;
mod files;
mod interrupt;
mod sampler;

use std::time::Duration;

use anyhow::Result;

use crate::artifacts::filters;
use crate::envoy::{EnvoyBinary, locate};

pub use self::interrupt::Interrupted;

pub(crate) use self::course::{Plan, Record, run};
pub(crate) use self::files::{allow_open_files, prepare_folder};
pub(crate) use self::interrupt::unless_signalled;
pub(crate) use self::sampler::ClosesOf;

/// How far from the mean an edge's load may be to count as even (design.md, section 9).
pub(crate) const TOLERANCE: f64 = 0.1;
/// A sample is taken so often.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Request rates are means over so long.
pub(crate) const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Builds the filters, finds Envoy, and says so.
///
/// Not to be done under [`unless_signalled`]: until something runs, Ctrl-C may simply end us.
///
/// # Errors
///
/// The filters do not build, or there is no Envoy to be had.
pub(crate) fn tools() -> Result<EnvoyBinary> {
    println!("Filters: building what has changed");
    let filters = filters()?;
    println!("Filters: {}", filters.directory.display());
    let envoy = locate()?;
    println!("Envoy:   {} ({})", envoy.version, envoy.path.display());
    Ok(envoy)
}
