//! What one VM of a node knows of one load balancer, and owes it.

use std::rc::Rc;
use std::time::Duration;

use crate::close_rate::{CloseRate, Demand, VmTraffic};
use crate::config::NodeConfig;
use crate::heaviness::{Heaviness, Pairs};
use crate::load::LoadAverage;
use crate::node::{MAX_VMS, RequestInHand};
use crate::pacer::Pacer;
use crate::rebalance::Load;
use crate::recent_connections::{OLDER, OLDEST, RecentConnections};
use crate::request_share::RequestShare;
use crate::wire::{MAX_CONNECTIONS, NamedConnection, Position, Stamp};
use crate::{Timestamp, VmToken};

/// Requests tell of the present for so many stretches.
const STRETCHES_OF_LATE: u32 = 5;

/// A load balancer that announces itself and has sent no request for so many of the usual gaps
/// between requests, its own or its pool's, is idle, if that is longer.
const GAPS_TO_IDLE: u32 = 24;

/// One that is not heard of for so many of its usual gaps is taken to be gone.
const GAPS_TO_GONE: u32 = 8;

/// None is taken to be gone before so many stretches.
const STRETCHES_TO_GONE: u32 = 2;

/// The part that the latest gap has in the usual one.
const LATEST_GAP: u32 = 8;

/// Equal shares earn for so many stretches at once at most: ticks come far more often.
const LONGEST_STRETCH: u32 = 2;

/// Ages are stamped in whole seconds.
const AGE_STEP: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct LoadBalancer {
    pub id: Rc<str>,
    pub pool: Rc<str>,
    pub pacer: Pacer,
    pub heard_at: Timestamp,
    /// How far its load is from its pool's mean, relative to that; 0 where that is not known.
    pub deviation: f64,
    /// At what hazard its connections are closed for balance, per second.
    pub hazard: f64,
    /// The usual time between hearing of it and hearing of it again, by requests or announcements.
    gap: Duration,
    weight: f64,
    vms: Vec<Vm>,
    recent: RecentConnections,
    heaviness: Heaviness,
    average: LoadAverage,
    requested_at: Option<Timestamp>,
    /// The usual time between one request and the next, where there were two.
    request_gap: Option<Duration>,
    /// Requests since the start, those included that had no stamp.
    requests: u64,
    /// Stamps since they were last asked for.
    stamps: u64,
    /// When it was last heard of first in a process that has started since.
    restarted_at: Option<Timestamp>,
    restarts: u32,
    /// What its VMs have sent in the stretch that was accounted for last.
    traffic: Vec<VmTraffic>,
}

#[derive(Debug)]
struct Vm {
    token: VmToken,
    share: RequestShare,
    open: u64,
    /// Its part of the load balancer's requests, in the last stretch.
    part: f64,
}

// === impl LoadBalancer ===

impl LoadBalancer {
    pub fn new(id: Rc<str>, pool: Rc<str>, fraction: f64, now: Timestamp) -> Self {
        Self {
            id,
            pool,
            pacer: Pacer::new(fraction, now),
            heard_at: now,
            gap: Duration::ZERO,
            weight: 1.0,
            vms: Vec::new(),
            recent: RecentConnections::default(),
            heaviness: Heaviness::default(),
            average: LoadAverage::default(),
            requested_at: None,
            request_gap: None,
            requests: 0,
            stamps: 0,
            deviation: 0.0,
            hazard: 0.0,
            restarted_at: None,
            restarts: 0,
            traffic: Vec::new(),
        }
    }

    /// Takes in what its stamps say of it, with a request or without.
    pub fn hear(&mut self, stamp: &Stamp<'_>, now: Timestamp) {
        self.gap = usual(self.gap, now.since(self.heard_at));
        self.heard_at = now;
        if stamp.position.is_some() || !self.has_requested() {
            self.weight = stamp.weight;
        }
    }

    /// Whether it has sent a request, and not only announced itself.
    pub fn has_requested(&self) -> bool {
        self.requested_at.is_some()
    }

    /// Whether it is heard of about as often as usual. One that was killed is not, long before
    /// it is forgotten: in the meantime its clients are with the others, and these must not take
    /// its last load for one that theirs should come down to.
    pub fn is_there(&self, stretch: Duration, now: Timestamp) -> bool {
        let least = stretch.saturating_mul(STRETCHES_TO_GONE);
        now.since(self.heard_at) <= least.max(self.gap.saturating_mul(GAPS_TO_GONE))
    }

    /// Takes in that it announces itself, to a node that has listened since `started`.
    /// `pool_gap` is the usual time from one request to the next for a load balancer of its pool:
    /// where that is long, one that is silent is not idle yet.
    pub fn announce(
        &mut self,
        pool_gap: Duration,
        stretch: Duration,
        started: Timestamp,
        now: Timestamp,
    ) {
        let late = stretch.saturating_mul(STRETCHES_OF_LATE);
        let gap = self.request_gap.unwrap_or_default().max(pool_gap);
        let silent = late.max(gap.saturating_mul(GAPS_TO_IDLE));
        if now.since(self.requested_at.unwrap_or(started)) >= silent {
            self.average.set_idle();
        }
    }

    /// Takes in a request; false where there is no room for its VM.
    pub fn observe(&mut self, position: &Position, now: Timestamp) -> bool {
        if let Some(vm) = self.vms.iter_mut().find(|vm| vm.token == position.vm) {
            vm.share.observe(position, now);
            vm.open = position.open;
        } else if self.vms.len() < MAX_VMS {
            // Its VMs count together, each a little behind; from 0 where it has started again.
            if self.vms.iter().any(|vm| vm.share.total() / 2 > position.total) {
                self.restarted_at = Some(now);
                self.restarts = self.restarts.wrapping_add(1);
                self.average = LoadAverage::default();
            }
            let share = RequestShare::new(position, now);
            self.vms.push(Vm { token: position.vm, share, open: position.open, part: 1.0 });
        } else {
            return false;
        }
        let connection = NamedConnection { vm: position.vm, id: position.connection };
        self.requests = self.requests.saturating_add(position.sample);
        self.stamps += 1;
        if let Some(before) = self.requested_at.replace(now) {
            let latest = now.since(before);
            self.request_gap = Some(self.request_gap.map_or(latest, |gap| usual(gap, latest)));
        }
        self.recent.observe(connection, position.age, position.sample, now);
        self.heaviness.observe(connection, position.sample, now);
        true
    }

    /// The connections whose close is due, with that of `request` first; empty unless it is
    /// eligible, so that the connections with the most requests move first, and none is sent
    /// round again before the others.
    pub fn take_due(
        &mut self,
        request: &RequestInHand,
        config: &NodeConfig,
        now: Timestamp,
    ) -> Vec<NamedConnection> {
        let due = self.pacer.due().min(MAX_CONNECTIONS);
        if due == 0 {
            return Vec::new();
        }
        let age = request.age(now);
        if age < config.min_connection_age || self.recent.is_named(request.connection, now) {
            return Vec::new();
        }
        let seen_within = config.share_window.saturating_mul(STRETCHES_OF_LATE);
        let one_in = if self.pacer.is_overdue() { OLDER } else { OLDEST };
        if age.saturating_add(AGE_STEP) < self.recent.age_of_oldest(one_in, seen_within, now) {
            return Vec::new();
        }
        // For balance a connection is moved only where it can help.
        let rebalances = matches!(config.close_rate, CloseRate::Rebalance(_));
        let count = rebalances.then(|| self.connections());
        if count.is_some_and(|count| self.recent.is_too_heavy(request.connection, count)) {
            return Vec::new();
        }
        self.recent.mark_named(request.connection, now);
        let mut connections = vec![request.connection];
        let min_age = config.min_connection_age;
        connections.extend(self.recent.take_oldest(due - 1, min_age, count, seen_within, now));
        self.pacer.spend(connections.len());
        connections
    }

    /// Drops VMs that were not heard of for `timeout`, but for the last one where requests are
    /// rare.
    pub fn forget_silent(&mut self, timeout: Duration, now: Timestamp) {
        let last = self.requested_at.filter(|_| !self.average.is_idle());
        self.vms.retain(|vm| {
            let seen = vm.share.last_seen();
            now.since(seen) < timeout || last.is_some_and(|last| seen >= last)
        });
    }

    /// Ends the stretch of each VM, as far as it is long enough to tell something.
    pub fn end_stretches(&mut self, stretch: Duration, elapsed: Duration, now: Timestamp) {
        let connections = self.connections();
        let Self { vms, average, traffic, heaviness, .. } = self;
        heaviness.on_tick(now);
        average.fade(elapsed, stretch);
        traffic.clear();
        traffic.extend(vms.iter_mut().map(|vm| {
            // The first stretch of a VM begins in the middle of one; a short rest waits.
            let ended = vm.share.take_stretch(stretch / 2);
            if let Some(ended) = &ended {
                average.add(ended, connections);
                vm.part = ended.of_vm as f64 / ended.of_load_balancer as f64;
            }
            let portion = ended.map(|ended| ended.portion()).unwrap_or_default();
            VmTraffic { portion, open: vm.open }
        }));
    }

    /// How often it was seen to start again.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Its stamps here since this was last asked for.
    pub fn take_stamps(&mut self) -> u64 {
        std::mem::take(&mut self.stamps)
    }

    /// Its requests here since it was first heard of.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Pairs of its requests, and those on the same connection.
    pub fn pairs(&self) -> Pairs {
        self.heaviness.pairs()
    }

    /// Its load; `None` as long as nothing is known.
    pub fn load(&self, stretch: Duration) -> Option<Load> {
        let rate = self.average.rate()?;
        let connections = self.connections();
        let measured_over = match self.average.measured_over(self.vms.len()) {
            // One that is idle has been so for some time.
            Duration::ZERO => stretch.saturating_mul(STRETCHES_OF_LATE),
            time => time,
        };
        let trend = self.average.trend(connections);
        Some(Load { rate, measured_over, trend, connections, weight: self.weight })
    }

    /// Its downstream connections; none where it is idle, whatever they once were.
    fn connections(&self) -> f64 {
        if self.average.is_idle() {
            return 0.0;
        }
        // Those of VMs that have ended with an earlier process are gone.
        let there = |vm: &&Vm| self.restarted_at.is_none_or(|at| vm.share.last_seen() >= at);
        let open: f64 = self.vms.iter().filter(there).map(|vm| vm.open as f64).sum();
        // Some of its VMs may send nothing here: what is seen is a part of the whole.
        let seen: f64 = self.vms.iter().filter(there).map(|vm| vm.part).sum();
        if seen > 0.0 { open / seen.min(1.0) } else { 0.0 }
    }

    /// Turns the requests of the last stretch, `elapsed` long, into closes to come.
    pub fn earn(&mut self, demand: Demand, config: &NodeConfig, elapsed: Duration, now: Timestamp) {
        // A VM that was stopped for a while must not make up for it at once, whatever it missed.
        let elapsed = elapsed.min(config.share_window.saturating_mul(LONGEST_STRETCH));
        let closes = demand.closes_owed(config.share, elapsed, self.traffic.drain(..));
        self.pacer.earn(closes, config.share_window, now);
    }
}

/// The usual gap, the latest one included.
fn usual(gap: Duration, latest: Duration) -> Duration {
    if gap.is_zero() {
        return latest;
    }
    gap.saturating_mul(LATEST_GAP - 1).saturating_add(latest) / LATEST_GAP
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const STRETCH: Duration = Duration::from_secs(2);

    fn at_ms(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    /// One that is heard of every `gap` milliseconds for a minute.
    fn heard_every(gap: u64) -> LoadBalancer {
        let stamp = Stamp::parse(b"id=\"edge-1\"").unwrap();
        let mut load_balancer = LoadBalancer::new("edge-1".into(), "default".into(), 0.0, at_ms(0));
        for millis in (0..=60_000).step_by(usize::try_from(gap).unwrap()) {
            load_balancer.hear(&stamp, at_ms(millis));
        }
        load_balancer
    }

    #[test]
    fn one_with_traffic_that_falls_silent_is_gone_soon() {
        let busy = heard_every(10);
        assert!(busy.is_there(STRETCH, at_ms(64_000)));
        assert!(!busy.is_there(STRETCH, at_ms(64_100)));
    }

    #[test]
    fn one_that_is_only_announced_is_there_between_its_announcements() {
        let idle = heard_every(5_000);
        assert!(idle.is_there(STRETCH, at_ms(74_000)));
        assert!(idle.is_there(STRETCH, at_ms(100_000)));
        assert!(!idle.is_there(STRETCH, at_ms(101_000)));
    }

    #[test]
    fn one_that_is_announced_has_no_load_once_its_requests_are_over() {
        let mut load_balancer = heard_every(1_000);
        assert!(load_balancer.load(STRETCH).is_none(), "nothing is known yet");
        let stamp = Stamp::parse(b"id=\"edge-1\", vm=a, seq=5, conn=1, open=3").unwrap();
        load_balancer.observe(&stamp.position.unwrap(), at_ms(60_000));
        load_balancer.announce(Duration::ZERO, STRETCH, at_ms(0), at_ms(69_000));
        assert!(load_balancer.load(STRETCH).is_none(), "requests may be rare");
        let pool_gap = Duration::from_secs(1);
        load_balancer.announce(pool_gap, STRETCH, at_ms(0), at_ms(83_000));
        assert!(load_balancer.load(STRETCH).is_none(), "with others of the pool they are rare");
        load_balancer.announce(pool_gap, STRETCH, at_ms(0), at_ms(84_000));
        let load = load_balancer.load(STRETCH).unwrap();
        assert!(load.rate.get() <= 0.0, "{load:?}");
    }
}
