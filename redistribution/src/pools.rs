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

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    by_name: BTreeMap<Rc<str>, Pool>,
    /// By load balancer, as of the last time.
    hazards: BTreeMap<Rc<str>, f64>,
    /// By pool, likewise.
    balances: BTreeMap<Rc<str>, Balance>,
    changes: Changes,
}

/// The load balancers of a pool whose loads are known, and what was counted of each.
#[derive(Default)]
struct Known {
    members: Members,
    pairs: Vec<Pairs>,
}

// === impl Pools ===

impl Pools {
    /// Derives the hazards of all load balancers anew.
    pub fn rebalance(
        &mut self,
        settings: &Rebalance,
        load_balancers: &BTreeMap<Rc<str>, LoadBalancer>,
        config: &NodeConfig,
        elapsed: Duration,
        now: Timestamp,
    ) {
        let mut known = BTreeMap::<Rc<str>, Known>::new();
        let stretch = config.share_window;
        for (id, load_balancer) in load_balancers {
            if load_balancer.is_there(stretch, now)
                && let Some(load) = load_balancer.load(stretch)
            {
                let pool = known.entry(Rc::clone(&load_balancer.pool)).or_default();
                pool.members.ids.push(Rc::clone(id));
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
