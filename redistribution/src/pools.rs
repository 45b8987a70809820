//! The pools of a node's load balancers, and the hazards that balance asks of each.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

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
    by_name: BTreeMap<Rc<str>, Pool>,
    /// By load balancer, as of the last time.
    hazards: BTreeMap<Rc<str>, f64>,
    /// By pool, likewise.
    balances: BTreeMap<Rc<str>, Balance>,
    /// By pool, how fast requests come.
    paces: BTreeMap<Rc<str>, Pace>,
    changes: Changes,
}

/// The load balancers of a pool whose loads are known, and what was counted of each.
#[derive(Default)]
struct Known {
    members: Members,
    pairs: Vec<Pairs>,
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
        load_balancers: &mut BTreeMap<Rc<str>, LoadBalancer>,
        config: &NodeConfig,
        elapsed: Duration,
        now: Timestamp,
    ) {
        self.count_requests(load_balancers, elapsed);
        let mut known = BTreeMap::<Rc<str>, Known>::new();
        let stretch = config.share_window;
        for (id, load_balancer) in &*load_balancers {
            if load_balancer.is_there(stretch, now)
                && let Some(load) = load_balancer.load(stretch)
            {
                let pool = known.entry(Rc::clone(&load_balancer.pool)).or_default();
                pool.members.ids.push(Rc::clone(id));
                pool.members.restarts.push(load_balancer.restarts());
                pool.members.loads.push(load);
                pool.pairs.push(load_balancer.pairs());
            }
        }
        self.by_name.retain(|name, _| known.contains_key(name));
        self.balances.retain(|name, _| known.contains_key(name));
        self.hazards.clear();
        let acts = config.mode == Mode::Enforce;
        for (name, Known { members, pairs }) in known {
            let connections = members.loads.iter().map(|load| load.connections);
            let kappa = kappa(pairs.into_iter().zip(connections));
            let pool = self.by_name.entry(Rc::clone(&name)).or_default();
            let hazards = pool.hazards(settings, &members, kappa, acts, elapsed, now);
            let balance = pool.balance(now);
            let before =
                self.balances.insert(Rc::clone(&name), balance.clone()).unwrap_or_default();
            if before != balance {
                self.changes.push(Change { pool: name, before, now: balance });
            }
            self.hazards.extend(members.ids.into_iter().zip(hazards));
        }
    }

    /// The usual time from one request of a load balancer of `pool` to its next, as far as this node
    /// sees them; `None` where it sees too few to say.
    pub fn usual_gap(&self, pool: &str) -> Option<Duration> {
        self.paces.get(pool).and_then(Pace::usual_gap)
    }

    fn count_requests(
        &mut self,
        load_balancers: &mut BTreeMap<Rc<str>, LoadBalancer>,
        elapsed: Duration,
    ) {
        for pace in self.paces.values_mut() {
            pace.fade(elapsed);
        }
        for load_balancer in load_balancers.values_mut() {
            let seconds = elapsed.as_secs_f64();
            let new = Pace { seconds, ..Pace::default() };
            let pace = self.paces.entry(Rc::clone(&load_balancer.pool)).or_insert(new);
            pace.load_balancers += 1;
            pace.requests += load_balancer.take_stamps() as f64;
        }
        self.paces.retain(|_, pace| pace.load_balancers > 0);
    }

    /// The hazard of the load balancer `id`, per second.
    pub fn hazard(&self, id: &str) -> f64 {
        self.hazards.get(id).copied().unwrap_or(0.0)
    }

    /// How each pool is doing.
    pub fn balances(&self) -> impl Iterator<Item = &Balance> {
        self.balances.values()
    }

    /// What has changed since the last time.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.changes.take()
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
