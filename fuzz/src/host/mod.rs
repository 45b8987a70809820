//! A host that is none: it stands in Envoy's place, in memory, and can be told to fail.
//!
//! A VM is a thread here, because a module's state is a thread's; one VM after the other may be the
//! same. What the VMs of a process share
//! is a [`Process`]. Host calls are in `imports`, the way to the module's callbacks is in
//! [`module`](Module).

mod imports;
mod module;
mod process;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use module::{EdgeCallbacks, Module};
pub use process::{Process, Shared};

/// Statuses of the ABI.
pub const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;
const EMPTY: u32 = 7;
const CAS_MISMATCH: u32 = 8;
const INTERNAL_FAILURE: u32 = 10;

/// Header maps and buffers of the ABI.
pub const REQUEST: u32 = 0;
pub const RESPONSE: u32 = 2;
pub const DOWNSTREAM: u32 = 2;
pub const UPSTREAM: u32 = 3;
const CONFIGURATION: u32 = 7;

/// What a callback wants done with what it was shown.
pub const CONTINUE: u32 = 0;
pub const PAUSE: u32 = 1;

/// Headers in their order; names are in lower case.
pub type Headers = Vec<(Vec<u8>, Vec<u8>)>;

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// One VM as its host has it.
pub struct Host {
    module: Module,
    process: Arc<Process>,
    pub streams: BTreeMap<u32, Stream>,
    /// The context that host calls act on.
    effective: u32,
    pub configuration: Vec<u8>,
    pub metrics: Metrics,
    /// Statuses of the host calls to come: 0 lets one do what it is for.
    pub statuses: Vec<u8>,
    /// Whether some host call was made to fail.
    pub failed: bool,
    /// What a trapped VM does is not seen by anybody.
    pub trapped: bool,
    /// Closes that were put into queues of others, and taken from the own one.
    pub enqueued: u64,
    pub dequeued: u64,
    /// Called where bytes from a client are let through.
    pub on_resumed: fn(u32, &[u8]),
    /// Called before each host call on what VMs share, with its key or name; false traps the VM.
    pub on_shared: Option<OnShared>,
}

/// Metrics in the order they were defined in, which numbers them.
pub type Metrics = Vec<(String, i64)>;

/// See [`Host::on_shared`].
pub type OnShared = Box<dyn Fn(Shared, &[u8]) -> bool>;

/// A request or a connection.
#[derive(Default)]
pub struct Stream {
    /// Envoy's `connection.id`.
    pub connection: Vec<u8>,
    pub protocol: Vec<u8>,
    pub request: Headers,
    pub response: Headers,
    /// Bytes from the client that were not passed on, and bytes to it.
    pub downstream: Vec<u8>,
    pub upstream: Vec<u8>,
    /// Bytes that were let through by a host call.
    pub let_through: Vec<u8>,
    pub closed: bool,
}

// === impl Host ===

impl Host {
    pub fn new(module: Module, process: Arc<Process>) -> Self {
        Self {
            module,
            process,
            streams: BTreeMap::new(),
            effective: 0,
            configuration: Vec::new(),
            metrics: Metrics::new(),
            statuses: Vec::new(),
            failed: false,
            trapped: false,
            enqueued: 0,
            dequeued: 0,
            on_resumed: |_, _| {},
            on_shared: None,
        }
    }

    fn stream(&mut self) -> Option<&mut Stream> {
        self.streams.get_mut(&self.effective)
    }

    /// The status that the next host call is to have.
    fn status(&mut self) -> u32 {
        if self.trapped {
            return INTERNAL_FAILURE;
        }
        let status = u32::from(self.statuses.pop().unwrap_or(0));
        self.failed |= status != OK;
        status
    }

    /// What a metric stands at; 0 where there is none.
    #[must_use]
    pub fn metric(&self, name: &str) -> i64 {
        self.metrics.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value)
    }
}

/// Makes this thread a VM with this host, runs `run`, and takes the host back. The module's own
/// state stays with the thread.
///
/// # Panics
/// Within `run`.
pub fn run(host: Host, run: impl FnOnce()) -> Host {
    HOST.with(|cell| {
        let before = cell.replace(Some(host));
        assert!(before.is_none(), "a thread is one VM");
    });
    run();
    HOST.with(RefCell::take).expect("only this function takes it")
}

/// Something with the host of this VM; never while a callback runs.
///
/// # Panics
/// Outside of [`run`].
pub fn with<T>(something: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with(|host| something(host.borrow_mut().as_mut().expect("this thread is a VM")))
}

/// Has `callback` run for the context `id`.
pub fn call<T>(id: u32, callback: impl FnOnce(&Module) -> T) -> T {
    let (module, before) = with(|host| (host.module, std::mem::replace(&mut host.effective, id)));
    let answer = callback(&module);
    with(|host| host.effective = before);
    answer
}
