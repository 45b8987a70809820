//! The requests of a load balancer over all its VMs: a number in the host's shared data that
//! each VM adds to.

use proxy_host::{Result, Status, get_shared_data, init_shared_data, set_shared_data};
use redistribution::stamper::Stamper;

/// Tries before the rest is left to the next tick.
const TRIES: usize = 16;

/// The total of one load balancer.
pub(crate) struct Total {
    key: String,
}

// === impl Total ===

impl Total {
    pub fn new(lb: &str) -> Self {
        let key = format!("spillway.total.{lb}");
        // Without it the first numbers that VMs share might overwrite each other.
        let _ = init_shared_data(key.as_bytes(), &0_u64.to_le_bytes());
        Self { key }
    }

    /// Adds what `stamper` has counted since the last time.
    pub fn share(&self, stamper: &mut Stamper) -> Result<()> {
        let pending = stamper.pending();
        if pending == 0 {
            return Ok(());
        }
        for _ in 0..TRIES {
            let (before, cas) = match get_shared_data(self.key.as_bytes()) {
                Ok((bytes, cas)) => (bytes.try_into().map_or(0, u64::from_le_bytes), cas),
                Err(Status::NotFound) => (0, 0),
                Err(status) => return Err(status),
            };
            let total = before.wrapping_add(pending);
            match set_shared_data(self.key.as_bytes(), &total.to_le_bytes(), cas) {
                Ok(()) => {
                    stamper.shared(pending, total);
                    return Ok(());
                }
                Err(Status::CasMismatch) => {}
                Err(status) => return Err(status),
            }
        }
        Ok(())
    }
}
