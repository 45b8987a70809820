//! The pools of a node's load balancers, and the hazards that balance asks of each.

use std::rc::Rc;
use std::time::Duration;

use litemap::LiteMap;

use crate::Timestamp;
use crate::balance::{Balance, Change, Changes};
use crate::config::{Mode, NodeConfig};
use crate::heaviness::{Pairs, kappa};
use crate::load_balancer::LoadBalancer;
use crate::pool::{Members, Pool};
use crate::rebalance::Rebalance;

/// How fast requests come is an average over about this time,
const PACE_MEMORY: Duration = Duration::from_mins(5);

/// of so many requests at least.
const ENOUGH_FOR_A_PACE: f64 = 8.0;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    by_name: LiteMap<Rc<str>, Entry>,
    changes: Changes,
}

/// A pool of which some load balancer is heard.
#[derive(Debug)]
struct Entry {
    pace: Pace,
    /// Absent as long as no load is known.
    kept: Option<Kept>,
    /// The load balancers whose loads are known, and what was counted of each.
    members: Members,
    pairs: Vec<Pairs>,
}

/// A pool that is kept in balance.
#[derive(Debug, Default)]
struct Kept {
    pool: Pool,
    /// As of the last time.
    balance: Balance,
}

/// How fast requests of a pool come here.
#[derive(Debug, Default)]
struct Pace {
    load_balancers: u32,
    /// Seconds of late, and the requests of them.
    seconds: f64,
    requests: f64,
}

// === impl Pools ===

impl Pools {
    /// Derives the hazards of all load balancers anew.
    pub fn rebalance(
        &mut self,
        settings: &Rebalance,
        load_balancers: &mut LiteMap<Rc<str>, LoadBalancer>,
        config: &NodeConfig,
        elapsed: Duration,
        now: Timestamp,
    ) {
        self.count_requests(load_balancers, elapsed);
        let stretch = config.share_window;
        for (id, load_balancer) in &mut *load_balancers {
            load_balancer.hazard = 0.0;
            if load_balancer.is_there(stretch, now)
                && let Some(load) = load_balancer.load(stretch)
                && let Some(entry) = self.by_name.get_mut(&load_balancer.pool)
            {
                entry.members.ids.push(Rc::clone(id));
                entry.members.restarts.push(load_balancer.restarts());
                entry.members.loads.push(load);
                entry.pairs.push(load_balancer.pairs());
            }
        }
        let acts = config.mode == Mode::Enforce;
        for (name, Entry { kept, members, pairs, .. }) in &mut self.by_name {
            let members = std::mem::take(members);
            let pairs = std::mem::take(pairs);
            if members.ids.is_empty() {
                *kept = None;
                continue;
            }
            let connections = members.loads.iter().map(|load| load.connections);
            let kappa = kappa(pairs.into_iter().zip(connections));
            let kept = kept.get_or_insert_default();
            let hazards = kept.pool.hazards(settings, &members, kappa, acts, elapsed, now);
            let balance = kept.pool.balance(now);
            if kept.balance != balance {
                let before = std::mem::replace(&mut kept.balance, balance.clone());
                self.changes.push(Change { pool: Rc::clone(name), before, now: balance });
            }
            for (id, hazard) in members.ids.iter().zip(hazards) {
                if let Some(load_balancer) = load_balancers.get_mut(id) {
                    load_balancer.hazard = hazard;
                }
            }
        }
    }

    /// The usual time from one request of a load balancer of `pool` to its next, as far as this node
    /// sees them; `None` where it sees too few to say.
    pub fn usual_gap(&self, pool: &str) -> Option<Duration> {
        self.by_name.get(pool).and_then(|entry| entry.pace.usual_gap())
    }

    fn count_requests(
        &mut self,
        load_balancers: &mut LiteMap<Rc<str>, LoadBalancer>,
        elapsed: Duration,
    ) {
        for (_, entry) in &mut self.by_name {
            entry.pace.fade(elapsed);
        }
        for (_, load_balancer) in load_balancers {
            if !self.by_name.contains_key(&load_balancer.pool) {
                self.by_name.insert(Rc::clone(&load_balancer.pool), Entry::new(elapsed));
            }
            if let Some(entry) = self.by_name.get_mut(&load_balancer.pool) {
                entry.pace.load_balancers += 1;
                entry.pace.requests += load_balancer.take_stamps() as f64;
            }
        }
        self.by_name.retain(|_, entry| entry.pace.load_balancers > 0);
    }

    /// How each pool is doing.
    pub fn balances(&self) -> impl Iterator<Item = &Balance> {
        self.by_name.values().filter_map(|entry| entry.kept.as_ref()).map(|kept| &kept.balance)
    }

    /// What has changed since the last time.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.changes.take()
    }
}

// === impl Entry ===

impl Entry {
    fn new(elapsed: Duration) -> Self {
        Self {
            pace: Pace { seconds: elapsed.as_secs_f64(), ..Pace::default() },
            kept: None,
            members: Members::default(),
            pairs: Vec::new(),
        }
    }
}

// === impl Pace ===

impl Pace {
    /// Begins to count anew, for the `elapsed` since the last time; what was counted before fades.
    fn fade(&mut self, elapsed: Duration) {
        let left = (-elapsed.as_secs_f64() / PACE_MEMORY.as_secs_f64()).exp();
        self.seconds = self.seconds * left + elapsed.as_secs_f64();
        self.requests *= left;
        self.load_balancers = 0;
    }

    fn usual_gap(&self) -> Option<Duration> {
        let gap = f64::from(self.load_balancers) * self.seconds / self.requests;
        let enough = self.requests >= ENOUGH_FOR_A_PACE;
        Duration::try_from_secs_f64(gap).ok().filter(|_| enough)
    }
}
