//! The state of a VM, which is the state of one worker: shared by all roles and configurations
//! that run in it, and the only thing here that is not owned by a context.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use log::warn;
use proxy_host::{Status, is_news, monotonic_now};
use redistribution::config::LbConfig;
use redistribution::connections::{Connection, Connections};
use redistribution::sampler::Sampler;
use redistribution::stamper::Stamper;
use redistribution::{Timestamp, VmToken};

use crate::metrics::Metrics;

thread_local! {
    static VM: RefCell<Option<Rc<Vm>>> = const { RefCell::new(None) };
}

/// See [`forget`](crate::forget).
#[cfg(not(target_family = "wasm"))]
pub(crate) fn forget() {
    drop(VM.with(RefCell::take));
}

/// See the module's documentation.
pub(crate) struct Vm {
    pub token: VmToken,
    /// The time of the last tick, or of the start.
    pub now: Cell<Timestamp>,
    pub connections: RefCell<Connections>,
    /// Connections whose clients were told to close through the connection role.
    pub draining: RefCell<Vec<Rc<Connection>>>,
    /// Requests in flight whose connections were not asked for.
    pub unresolved: Cell<usize>,
    /// The counter of each load balancer id, so that filters of one id count as one.
    stampers: RefCell<BTreeMap<String, Rc<RefCell<Stamper>>>>,
    pub counters: Counters,
    metrics: RefCell<Metrics>,
    warned: Cell<bool>,
}

/// What this VM has done since it started.
#[derive(Default)]
pub(crate) struct Counters {
    pub requests: Count,
    pub requests_stamped: Count,
    pub requests_untracked: Count,
    pub close_requests: Count,
    pub close_requests_malformed: Count,
    pub closes_requested: Count,
    pub closes_admitted: Count,
    pub closes_observed: Count,
    pub closes_handed_over: Count,
    pub closes_refused_other_load_balancer: Count,
    pub closes_refused_unknown_connection: Count,
    pub closes_refused_already_closing: Count,
    pub closes_refused_over_limit: Count,
    pub closes_announced_http1: Count,
    pub closes_announced_http2: Count,
    pub closes_native_drain: Count,
    pub closes_left_upgraded: Count,
    pub closes_lapsed: Count,
    pub announcements_deferred: Count,
    pub farewells: Count,
    pub connections_closed: Count,
    pub connections_cut: Count,
    pub closes_not_done: Count,
    pub connections_without_http_role: Count,
    pub streams_misplaced: Count,
    pub host_errors: Count,
}

/// A number of events.
#[derive(Default)]
pub(crate) struct Count(Cell<u64>);

// === impl Vm ===

impl Vm {
    /// This VM, made by the first root context that is configured.
    ///
    /// # Errors
    /// Where there is no clock to be had.
    pub fn get() -> Result<Rc<Self>, Status> {
        VM.with(|vm| {
            let mut vm = vm.borrow_mut();
            if let Some(vm) = &*vm {
                return Ok(Rc::clone(vm));
            }
            let now = monotonic_now()?;
            // Without randomness the clock's nanoseconds name the VM: other VMs start at others.
            let token = VmToken::from_random(getrandom::u64().unwrap_or(now));
            let new = Rc::new(Self::new(token, Timestamp::from_nanos(now)));
            *vm = Some(Rc::clone(&new));
            Ok(new)
        })
    }

    fn new(token: VmToken, now: Timestamp) -> Self {
        Self {
            token,
            now: Cell::new(now),
            connections: RefCell::default(),
            draining: RefCell::default(),
            unresolved: Cell::default(),
            stampers: RefCell::default(),
            counters: Counters::default(),
            metrics: RefCell::new(Metrics::define()),
            warned: Cell::new(false),
        }
    }

    /// The counter of the load balancer `id`.
    pub fn stamper(&self, id: &str, config: &LbConfig) -> Rc<RefCell<Stamper>> {
        let LbConfig { pool, weight, max_stamps_per_second, .. } = config;
        let mut stampers = self.stampers.borrow_mut();
        let stamper = stampers.entry(id.to_owned()).or_insert_with(|| {
            let seed = getrandom::u64().unwrap_or(self.now.get().as_nanos());
            let sampler = Sampler::new(*max_stamps_per_second, seed);
            let stamper = Stamper::new(id.to_owned(), pool.clone(), *weight, self.token, sampler);
            Rc::new(RefCell::new(stamper))
        });
        stamper.borrow_mut().configure(pool, *weight, *max_stamps_per_second);
        Rc::clone(stamper)
    }

    /// Whether it matters which connections requests come on: closes are under way.
    pub fn watches(&self) -> bool {
        self.connections.borrow().are_watched()
    }

    /// A connection was entered by the connection role: where no HTTP role works in this VM, nobody
    /// can ask for its close, which must not go unsaid.
    pub fn miss_http_role(&self) {
        if self.stampers.borrow().is_empty() {
            self.counters.connections_without_http_role.add(1);
            self.warn_once(
                "the connection role has no HTTP role in its VM, so it closes nothing: put the \
                 HTTP filter with \"role\": \"http\" into the same chain, with the same vm_id, VM \
                 configuration and code",
            );
        }
    }

    /// A filter is asked to do what is not its role: it stands in the wrong place.
    pub fn misplaced(&self) {
        self.counters.streams_misplaced.add(1);
        self.warn_once(
            "a filter's role does not fit its place, so it does nothing: \"connection\" is for \
             network filters in front of the HTTP connection manager, the others are for HTTP filters",
        );
    }

    /// A request came on a connection that Envoy was asked to drain and did not.
    pub fn miss_drain(&self, connection: &Connection) {
        connection.leave_alone();
        self.counters.closes_not_done.add(1);
        self.warn_once(
            "connections cannot be closed: no connection role with the same vm_id, VM \
             configuration and code is in front of this HTTP role, and Envoy does not drain them \
             either. That takes Envoy 1.37 or newer, and the Lua filter of edge-native-drain.yaml in \
             front of this one",
        );
    }

    /// Says it once for all VMs of the process, as far as they share data.
    fn warn_once(&self, message: &str) {
        if self.warned.replace(true) {
            return;
        }
        if is_news("spillway.warned", message) {
            warn!("spillway lb filter: {message}");
        }
    }

    /// Lets time pass; each root context of the VM calls it at its ticks.
    pub fn on_tick(&self) {
        match monotonic_now() {
            Ok(now) => self.now.set(Timestamp::from_nanos(now)),
            Err(_) => self.counters.host_errors.add(1),
        }
        let lapsed = self.connections.borrow_mut().sweep(self.now.get());
        self.counters.closes_lapsed.add(lapsed);
        self.metrics.borrow_mut().update(self);
    }
}

// === impl Count ===

impl Count {
    pub fn add(&self, events: u64) {
        self.0.set(self.0.get().saturating_add(events));
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}
