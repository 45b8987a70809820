//! A load balancer as one VM runs it: its counter, and what it does with close requests.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proxy_host::{
    MapType, Status, get_header, get_property, plugin_vm_id, remove_header, replace_header,
};
use redistribution::ConnectionId;
use redistribution::close_rate::PerSecond;
use redistribution::config::{LbConfig, Mode};
use redistribution::connections::Connection;
use redistribution::guard::{Guard, Refusal, Verdict};
use redistribution::stamper::{Origin, Stamper};
use redistribution::wire::{CloseRequest, NamedConnection, STAMP_HEADER, is_valid_name};

use crate::close_limit::CloseLimit;
use crate::handover::Handover;
use crate::total::Total;
use crate::vm::Vm;

/// See the module's documentation.
pub(crate) struct Edge {
    pub vm: Rc<Vm>,
    stamper: Rc<RefCell<Stamper>>,
    /// What the last stamp was written to.
    buffer: RefCell<String>,
    id: String,
    mode: Mode,
    limit: CloseLimit,
    handover: Handover,
    total: Total,
}

// === impl Edge ===

impl Edge {
    pub fn new(vm: Rc<Vm>, config: &LbConfig) -> Result<Self, String> {
        let id = config.id.clone().map_or_else(node_id, Ok)?;
        let vm_id = plugin_vm_id().unwrap_or_default();
        let handover = Handover::register(vm_id, vm.token)
            .map_err(|status| format!("the queue between workers cannot be had: {status}"))?;
        let limit: PerSecond = config.max_closes_per_second;
        Ok(Self {
            stamper: vm.stamper(&id, config),
            buffer: RefCell::default(),
            limit: CloseLimit::new(&id, limit, vm.now.get()),
            total: Total::new(&id),
            mode: config.mode,
            handover,
            id,
            vm,
        })
    }

    /// The load balancer's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Counts the request in hand; true if it is to have a stamp.
    pub fn count_request(&self) -> bool {
        self.vm.counters.requests.add(1);
        self.stamper.borrow_mut().on_request()
    }

    /// Puts the stamp on the request in hand, which came on the connection `id`.
    pub fn stamp(&self, id: ConnectionId, connection: Option<&Connection>) -> Result<(), Status> {
        let vm = &self.vm;
        let open = vm.connections.borrow().open();
        let age = connection.map(|connection| connection.age(vm.now.get()));
        if age.is_none() {
            vm.counters.requests_untracked.add(1);
        }
        let origin = Origin { connection: id, age: age.unwrap_or(Duration::ZERO), open };
        let mut buffer = self.buffer.borrow_mut();
        buffer.clear();
        self.stamper.borrow_mut().stamp(origin).write(&mut buffer);
        vm.counters.requests_stamped.add(1);
        replace_header(MapType::RequestHeaders, STAMP_HEADER, buffer.as_bytes())
    }

    /// Does what a close request asks, as far as the guard admits it.
    pub fn on_close_request(&self, header: &[u8]) {
        let counters = &self.vm.counters;
        counters.close_requests.add(1);
        let Ok(request) = CloseRequest::parse(header) else {
            counters.close_requests_malformed.add(1);
            return;
        };
        for named in &request.connections {
            counters.closes_requested.add(1);
            let mut verdict = self.judge(&request.lb, *named);
            if verdict == Verdict::HandOver {
                counters.closes_handed_over.add(1);
                if self.handover.give(&request.lb, *named).is_ok() {
                    continue;
                }
                // No such VM, or no longer: an edge that has restarted since the stamp. Or one with
                // so many waiting that it must be gone.
                verdict = Verdict::Refused(Refusal::UnknownConnection);
            }
            self.count(verdict);
        }
    }

    /// Judges the closes that other VMs were asked for and that are this VM's to do.
    pub fn take_over_closes(&self) {
        let mut any = false;
        while let Some((lb, id)) = self.handover.take() {
            let named = NamedConnection { vm: self.vm.token, id };
            let verdict = self.judge(&lb, named);
            self.count(verdict);
            any = true;
        }
        if any && self.handover.emptied().is_err() {
            self.vm.counters.host_errors.add(1);
        }
    }

    /// Shares what was counted with the other VMs.
    pub fn on_tick(&self) {
        let now = self.vm.now.get();
        let mut stamper = self.stamper.borrow_mut();
        stamper.on_tick(now);
        if stamper.leaves_some_out() {
            self.vm.connections.borrow_mut().overlook(now);
        }
        if self.total.share(&mut stamper).is_err() {
            self.vm.counters.host_errors.add(1);
        }
        drop(stamper);
        // Its call may have been lost with the root context it was meant for.
        self.take_over_closes();
    }

    fn judge(&self, lb: &str, named: NamedConnection) -> Verdict {
        let guard = Guard { lb: &self.id, vm: self.vm.token, mode: self.mode };
        let connections = self.vm.connections.borrow();
        guard.judge(lb, named, &connections, || self.limit.take(&self.vm))
    }

    fn count(&self, verdict: Verdict) {
        let counters = &self.vm.counters;
        let counter = match verdict {
            Verdict::Close => &counters.closes_admitted,
            Verdict::Observed => &counters.closes_observed,
            Verdict::Refused(Refusal::OtherLoadBalancer) => {
                &counters.closes_refused_other_load_balancer
            }
            // A close that was handed over and would have to be again goes nowhere.
            Verdict::Refused(Refusal::UnknownConnection) | Verdict::HandOver => {
                &counters.closes_refused_unknown_connection
            }
            Verdict::Refused(Refusal::AlreadyClosing) => &counters.closes_refused_already_closing,
            Verdict::Refused(Refusal::OverLimit) => &counters.closes_refused_over_limit,
        };
        counter.add(1);
    }
}

/// Leaves the request in hand without a stamp, also without one that the client has sent. To
/// look first costs less than to remove what is not there: Envoy finds the route anew after
/// each change of a request's headers.
pub(crate) fn leave_unstamped() -> Result<(), Status> {
    match get_header(MapType::RequestHeaders, STAMP_HEADER) {
        Ok(_) => remove_header(MapType::RequestHeaders, STAMP_HEADER),
        Err(Status::NotFound) => Ok(()),
        Err(status) => Err(status),
    }
}

/// The Envoy node id, where it can stand as a load balancer's id.
fn node_id() -> Result<String, String> {
    let id = get_property(b"xds\0node\0id")
        .map_err(|status| format!("no id is configured, and the Envoy node id is {status}"))?;
    String::from_utf8(id).ok().filter(|id| is_valid_name(id)).ok_or_else(|| {
        "no id is configured, and the Envoy node id is not 1 to 256 printable ASCII characters"
            .to_owned()
    })
}
