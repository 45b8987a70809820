//! Metrics: Envoy shows them as `wasmcustom.NAME`, summed over all VMs.

use crate::abi::import;
use crate::{Result, Status};

const COUNTER: u32 = 0;
const GAUGE: u32 = 1;

/// A count that only grows.
///
/// It remembers what it has told the host, so that a caller who counts by itself can hand over
/// its count now and then: that is one host call for many events, and none for no events.
#[derive(Debug)]
pub struct Counter {
    id: u32,
    told: u64,
}

/// A value that each VM knows as a whole: it is what the last one has said.
#[derive(Debug)]
pub struct Level {
    id: u32,
    told: u64,
}

/// A value that goes up and down; each VM contributes its part.
#[derive(Debug)]
pub struct Gauge {
    id: u32,
    told: i64,
}

fn define(kind: u32, name: &str) -> Result<u32> {
    let mut id = 0;
    // SAFETY: the name and `id` outlive the call.
    let status =
        unsafe { import::proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) };
    Status::check(status).map(|()| id)
}

fn increment(id: u32, by: i64) -> Result<()> {
    // SAFETY: plain numbers.
    Status::check(unsafe { import::proxy_increment_metric(id, by) })
}

// === impl Counter ===

impl Counter {
    /// Defines it; the same name gives the same metric.
    ///
    /// # Errors
    /// What the host says.
    pub fn define(name: &str) -> Result<Self> {
        Ok(Self { id: define(COUNTER, name)?, told: 0 })
    }

    /// Brings the host up to `total`, this VM's count since its start. One that is less than it was
    /// has begun anew.
    ///
    /// # Errors
    /// What the host says; the difference stays to be told.
    pub fn update(&mut self, total: u64) -> Result<()> {
        let new = total.checked_sub(self.told).unwrap_or(total);
        if new > 0 {
            increment(self.id, i64::try_from(new).unwrap_or(i64::MAX))?;
            self.told = total;
        }
        Ok(())
    }
}

// === impl Gauge ===

impl Gauge {
    /// Defines it; the same name gives the same metric.
    ///
    /// # Errors
    /// What the host says.
    pub fn define(name: &str) -> Result<Self> {
        Ok(Self { id: define(GAUGE, name)?, told: 0 })
    }

    /// Makes this VM's part of the sum `value`.
    ///
    /// # Errors
    /// What the host says; the difference stays to be told.
    pub fn update(&mut self, value: i64) -> Result<()> {
        if value != self.told {
            increment(self.id, value.saturating_sub(self.told))?;
            self.told = value;
        }
        Ok(())
    }
}

// === impl Level ===

impl Level {
    /// Defines it; the same name gives the same metric.
    ///
    /// # Errors
    /// What the host says.
    pub fn define(name: &str) -> Result<Self> {
        Ok(Self { id: define(GAUGE, name)?, told: 0 })
    }

    /// Makes it `value`, unless this VM has said so before.
    ///
    /// # Errors
    /// What the host says.
    pub fn update(&mut self, value: u64) -> Result<()> {
        if value != self.told {
            // SAFETY: plain numbers.
            Status::check(unsafe { import::proxy_record_metric(self.id, value) })?;
            self.told = value;
        }
        Ok(())
    }
}
