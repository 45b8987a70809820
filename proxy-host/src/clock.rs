//! Time.

use crate::abi::import;
use crate::{Result, Status};

/// `CLOCK_MONOTONIC` of WASI.
const MONOTONIC: u32 = 1;

/// Nanoseconds of the host's monotonic clock, the same for all VMs of the process.
///
/// # Errors
/// [`Status::Other`] with the WASI error number.
pub fn monotonic_now() -> Result<u64> {
    let mut nanos = 0;
    // SAFETY: `nanos` outlives the call.
    match unsafe { import::clock_time_get(MONOTONIC, 1, &raw mut nanos) } {
        0 => Ok(nanos),
        errno => Err(Status::Other(errno.into())),
    }
}
