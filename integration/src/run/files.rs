//! What a run needs of the file system: folders for its results, and enough open files.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files a process may have open besides one for each client: logs, DNS, upstream connections.
const FILES_BESIDES: u64 = 512;

/// Makes the folder that a file is to be written to: better now than at the end of the run.
///
/// # Errors
///
/// It cannot be made, or the file is a folder itself.
pub(crate) fn prepare_folder(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder)
        .with_context(|| format!("there is no folder for {}", file.display()))?;
    ensure!(!file.is_dir(), "{} is a folder; name a file", file.display());
    Ok(())
}

/// Raises the limit of open files to what so many clients need; Envoys inherit it.
///
/// # Errors
///
/// This process may not have so many.
pub(crate) fn allow_open_files(clients: usize) -> Result<()> {
    let needed = clients as u64 + FILES_BESIDES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(
        hard >= needed,
        "{clients} clients need {needed} open files, and the limit is {hard}; raise it (`ulimit -Hn`)"
    );
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(needed), hard)
            .context("cannot raise the limit of open files")?;
    }
    Ok(())
}
