//! The `log` crate's messages, in Envoy's log.

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::abi::import;

struct HostLogger;

static LOGGER: HostLogger = HostLogger;

/// Sends messages of `level` and above to the host. Whether it writes them is its own matter
/// (`--component-log-level wasm:info`).
pub fn log_to_host(level: LevelFilter) {
    // Fails only where a logger is set already: the roots of one VM all call this.
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(level);
    }
}

// === impl HostLogger ===

impl Log for HostLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Trace => 0,
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warn => 3,
            Level::Error => 4,
        };
        let message = record.args().to_string();
        // A log that cannot be written cannot be reported either.
        // SAFETY: the message outlives the call.
        let _ = unsafe { import::proxy_log(level, message.as_ptr(), message.len()) };
    }

    fn flush(&self) {}
}
