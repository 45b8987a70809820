//! What a node does with a request and its response (design, section 5).
//!
//! Every VM of a node works alone on the requests it sees itself. It needs no word from the
//! others: shares, and so rates, add up over VMs as they do over nodes.
//!
//! A node keeps at most [`MAX_LOAD_BALANCERS`] load balancers and [`MAX_VMS`] VMs of each.
//! Stamps beyond that are counted and left out of account: those closes are not asked for.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use litemap::LiteMap;

use crate::Timestamp;
use crate::balance::{Balance, Change};
use crate::close_rate::{CloseRate, Demand, PerSecond};
use crate::config::{Mode, NodeConfig};
use crate::deviation;
use crate::load_balancer::LoadBalancer;
use crate::pools::Pools;
use crate::wire::{CloseRequest, NamedConnection, Stamp};

/// Load balancers a node's VM keeps account of.
pub const MAX_LOAD_BALANCERS: usize = 1024;

/// VMs (worker threads) of one load balancer a node's VM keeps account of.
pub const MAX_VMS: usize = 256;

/// How often it is looked for what has fallen silent.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The state of one VM of a node.
#[derive(Debug)]
pub struct Node {
    config: NodeConfig,
    /// By id. They are few, or rarely others: a sorted list is searched fastest.
    load_balancers: LiteMap<Rc<str>, LoadBalancer>,
    pools: Pools,
    /// Where in its first close the next load balancer's pacer starts.
    fraction: f64,
    /// When it began to listen.
    started_at: Option<Timestamp>,
    /// When requests were last turned into closes.
    accounted_at: Option<Timestamp>,
    swept_at: Option<Timestamp>,
    counters: Counters,
}

/// A request that may get a close request on its response.
#[derive(Clone, Debug)]
pub struct RequestInHand {
    lb: Rc<str>,
    pub(crate) connection: NamedConnection,
    age: Duration,
    at: Timestamp,
}

/// A load balancer as a VM sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'n> {
    /// Its id.
    pub id: &'n Rc<str>,
    /// Its requests here, since it was first heard of.
    pub requests: u64,
    /// The close rate that this VM contributes, smoothed over seconds.
    pub close_rate: PerSecond,
    /// How far its load as a whole, per weight, is from the mean of its pool, relative to that.
    pub deviation: f64,
}

/// What a node's VM has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests with a stamp that counts.
    pub requests_stamped: u64,
    /// Requests without a stamp: not from an edge that runs Spillway.
    pub requests_unstamped: u64,
    /// Stamps that announce a load balancer only.
    pub announcements: u64,
    /// Stamps that could not be read, and were treated as absent.
    pub stamps_malformed: u64,
    /// Stamps left out of account because a table was full.
    pub stamps_over_limit: u64,
    /// Responses that carried a close request.
    pub close_requests: u64,
    /// Connections named in close requests.
    pub closes_requested: u64,
    /// Connections that would have been named, in mode `observe`.
    pub closes_observed: u64,
    /// Closes that were due but lapsed: responses were too rare, or connections too young.
    pub closes_lapsed: u64,
}

// === impl Node ===

impl Node {
    /// A node that has seen nothing yet. `fraction`, a random number from 0 to 1, keeps nodes
    /// that start together out of step.
    #[must_use]
    pub fn new(config: NodeConfig, fraction: f64) -> Self {
        Self {
            config,
            load_balancers: LiteMap::new_vec(),
            pools: Pools::default(),
            fraction: fraction.clamp(0.0, 1.0),
            started_at: None,
            accounted_at: None,
            swept_at: None,
            counters: Counters::default(),
        }
    }

    /// Takes in a request with the stamp header it came with.
    ///
    /// What comes back goes to [`on_response`](Self::on_response) with the request's response.
    pub fn on_request(&mut self, stamp: Option<&[u8]>, now: Timestamp) -> Option<RequestInHand> {
        let Some(header) = stamp else {
            self.counters.requests_unstamped += 1;
            return None;
        };
        let Ok(stamp) = Stamp::parse(header) else {
            self.counters.stamps_malformed += 1;
            return None;
        };
        self.on_stamp(&stamp, now)
    }

    /// Takes in a request with a stamp that could be read.
    pub fn on_stamp(&mut self, stamp: &Stamp<'_>, now: Timestamp) -> Option<RequestInHand> {
        let stretch = self.config.share_window;
        let started = *self.started_at.get_or_insert(now);
        let announces = stamp.position.is_none();
        let pool_gap = announces.then(|| self.pools.usual_gap(&stamp.pool)).flatten();
        let Some(load_balancer) = self.load_balancer(stamp, now) else {
            self.counters.stamps_over_limit += 1;
            return None;
        };
        load_balancer.hear(stamp, now);
        let Some(position) = &stamp.position else {
            if let Some(pool_gap) = pool_gap {
                load_balancer.announce(pool_gap, stretch, started, now);
            }
            self.counters.announcements += 1;
            return None;
        };
        let connection = NamedConnection { vm: position.vm, id: position.connection };
        if !load_balancer.observe(position, now) {
            self.counters.stamps_over_limit += 1;
            return None;
        }
        let lb = Rc::clone(&load_balancer.id);
        self.counters.requests_stamped += 1;
        Some(RequestInHand { lb, connection, age: position.age, at: now })
    }

    /// The close request to put on the response, if one is due.
    pub fn on_response<'a>(
        &mut self,
        request: &'a RequestInHand,
        now: Timestamp,
    ) -> Option<CloseRequest<'a>> {
        let load_balancer = self.load_balancers.get_mut(&request.lb)?;
        let connections = load_balancer.take_due(request, &self.config, now);
        if connections.is_empty() {
            return None;
        }
        let closes = connections.len() as u64;
        match self.config.mode {
            Mode::Observe => {
                self.counters.closes_observed += closes;
                None
            }
            Mode::Enforce => {
                self.counters.close_requests += 1;
                self.counters.closes_requested += closes;
                Some(CloseRequest { lb: Cow::Borrowed(&*request.lb), connections })
            }
        }
    }

    /// Lets time pass: call it every tenth of a second or so.
    pub fn on_tick(&mut self, now: Timestamp) {
        if self.swept_at.is_none_or(|at| now.since(at) >= SWEEP_INTERVAL) {
            self.swept_at = Some(now);
            self.forget_silent(now);
        }
        for (_, load_balancer) in &mut self.load_balancers {
            load_balancer.pacer.on_tick(now);
        }
        let stretch = self.config.share_window;
        if self.accounted_at.is_none_or(|at| now.since(at) >= stretch) {
            let elapsed = self.accounted_at.map_or(Duration::ZERO, |at| now.since(at));
            self.accounted_at = Some(now);
            self.account(elapsed, now);
        }
        for (_, load_balancer) in &mut self.load_balancers {
            let lapsed = load_balancer.pacer.take_lapsed();
            self.counters.closes_lapsed = self.counters.closes_lapsed.saturating_add(lapsed);
        }
    }

    /// Turns the requests of the last stretch into closes to come, for each load balancer.
    fn account(&mut self, elapsed: Duration, now: Timestamp) {
        let config = &self.config;
        for (_, load_balancer) in &mut self.load_balancers {
            load_balancer.end_stretches(config.share_window, elapsed, now);
        }
        deviation::note(&mut self.load_balancers, config.share_window, now);
        if let CloseRate::Rebalance(settings) = &config.close_rate {
            let load_balancers = &mut self.load_balancers;
            self.pools.rebalance(settings, load_balancers, config, elapsed, now);
        }
        for (_, load_balancer) in &mut self.load_balancers {
            let demand = match &config.close_rate {
                CloseRate::PerSecond(rate) => Demand::Rate(*rate),
                CloseRate::MeanConnectionAge(age) => Demand::renewal(*age),
                CloseRate::Rebalance(_) => Demand::Hazard(load_balancer.hazard),
            };
            load_balancer.earn(demand, config, elapsed, now);
        }
    }

    /// The close rate this VM contributes, over all load balancers, smoothed over seconds.
    #[must_use]
    pub fn close_rate(&self) -> PerSecond {
        self.load_balancers.values().map(|lb| lb.pacer.rate()).sum()
    }

    /// Load balancers heard from within `lb_timeout`.
    #[must_use]
    pub fn load_balancers(&self) -> usize {
        self.load_balancers.len()
    }

    /// Each of these, as this VM sees it.
    pub fn seen(&self) -> impl Iterator<Item = Seen<'_>> {
        self.load_balancers.values().map(Seen::of)
    }

    /// The load balancer `id`, as this VM sees it.
    #[must_use]
    pub fn see(&self, id: &str) -> Option<Seen<'_>> {
        self.load_balancers.get(id).map(Seen::of)
    }

    /// How each pool is doing, with the policy `rebalance`.
    pub fn balances(&self) -> impl Iterator<Item = &Balance> {
        self.pools.balances()
    }

    /// What has changed of that since the last time it was asked for.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.pools.take_changes()
    }

    /// What was done since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Drops load balancers, and VMs of them, that were not heard of for `lb_timeout`.
    fn forget_silent(&mut self, now: Timestamp) {
        let timeout = self.config.lb_timeout;
        self.load_balancers.retain(|_, lb| now.since(lb.heard_at) < timeout);
        for (_, load_balancer) in &mut self.load_balancers {
            load_balancer.forget_silent(timeout, now);
        }
    }

    /// The entry for the load balancer of `stamp`, made where there is room. One that has changed
    /// its pool begins anew. What its requests say of pool and weight counts for more than
    /// its announcements: these are fixed headers of health checks, and may leave it out.
    fn load_balancer(&mut self, stamp: &Stamp<'_>, now: Timestamp) -> Option<&mut LoadBalancer> {
        let known = self.load_balancers.get(&*stamp.id);
        let tells = |known: &LoadBalancer| stamp.position.is_some() || !known.has_requested();
        if known.is_none_or(|known| *known.pool != *stamp.pool && tells(known)) {
            if known.is_none() && self.load_balancers.len() >= MAX_LOAD_BALANCERS {
                return None;
            }
            let id = Rc::<str>::from(&*stamp.id);
            let pool = Rc::from(&*stamp.pool);
            let new = LoadBalancer::new(Rc::clone(&id), pool, self.fraction, now);
            self.load_balancers.insert(id, new);
            // The golden ratio spreads the starts of any number of pacers evenly.
            self.fraction = (self.fraction + 0.618_033_988_75).fract();
        }
        self.load_balancers.get_mut(&*stamp.id)
    }
}

// === impl Seen ===

impl<'n> Seen<'n> {
    fn of(load_balancer: &'n LoadBalancer) -> Self {
        Self {
            id: &load_balancer.id,
            requests: load_balancer.requests(),
            close_rate: load_balancer.pacer.rate(),
            deviation: load_balancer.deviation,
        }
    }
}

// === impl RequestInHand ===

impl RequestInHand {
    /// The age of its connection.
    pub(crate) fn age(&self, now: Timestamp) -> Duration {
        self.age.saturating_add(now.since(self.at))
    }
}

#[cfg(test)]
mod tests;
