//! `max_closes_per_second` over all workers: a [`CloseBudget`] in the host's shared data.

use proxy_host::{Status, get_shared_data, init_shared_data, monotonic_now, set_shared_data};
use redistribution::Timestamp;
use redistribution::close_budget::CloseBudget;
use redistribution::close_rate::PerSecond;

use crate::vm::Vm;

/// Tries before a close is refused because other workers were always faster.
const TRIES: usize = 16;

/// The limit of one load balancer.
pub(crate) struct CloseLimit {
    key: String,
    limit: PerSecond,
}

// === impl CloseLimit ===

impl CloseLimit {
    pub fn new(lb: &str, limit: PerSecond, now: Timestamp) -> Self {
        let key = format!("spillway.close_budget.{lb}");
        // Without it workers might each find none, and spend a full one.
        let full = CloseBudget::full(limit, now);
        let _ = init_shared_data(key.as_bytes(), &full.to_bytes());
        Self { key, limit }
    }

    /// Takes one close. Where the budget cannot be read or written there is none: a limit that
    /// fails must not fail open.
    pub fn take(&self, vm: &Vm) -> bool {
        let taken = self.try_take();
        if taken.is_err() {
            vm.counters.host_errors.add(1);
        }
        taken.unwrap_or(false)
    }

    fn try_take(&self) -> Result<bool, Status> {
        for _ in 0..TRIES {
            let now = Timestamp::from_nanos(monotonic_now()?);
            let (budget, cas) = match get_shared_data(self.key.as_bytes()) {
                Ok((bytes, cas)) => (CloseBudget::from_bytes(&bytes), cas),
                Err(Status::NotFound) => (None, 0),
                Err(status) => return Err(status),
            };
            let budget = budget.unwrap_or_else(|| CloseBudget::full(self.limit, now));
            let Some(left) = budget.take(self.limit, now) else {
                return Ok(false);
            };
            match set_shared_data(self.key.as_bytes(), &left.to_bytes(), cas) {
                Ok(()) => return Ok(true),
                Err(Status::CasMismatch) => {}
                Err(status) => return Err(status),
            }
        }
        Ok(false)
    }
}
