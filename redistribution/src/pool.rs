//! A pool of load balancers that is kept in balance, as one VM of a node sees it.
//!
//! The law stands in [`rebalance`](crate::rebalance), and trusts that clients who are closed can
//! land on the least loaded. Where they cannot (it is announced but not in DNS, drains, resolvers
//! keep an old answer, DNS weighs differently), closing would go on for ever and change nothing.
//! So it is tried ([`trial`](crate::trial)): where those that should gain connections do not,
//! closing is held back to [`HELD_BACK`], after one close for each connection at most, and the one
//! that gains least is named. The few closes that are left go on trying: once they do help, the
//! rate rises eightfold at a time, back to the law's. Clients who come and go can make it look as if
//! it helped: what a pool may have in all is bounded too ([`MOST`]). A change of the pool starts
//! afresh.

use std::rc::Rc;
use std::time::Duration;

use crate::Timestamp;
use crate::balance::Balance;
use crate::few_requests::by_connections;
use crate::rebalance::{Load, Phase, Rebalance};
use crate::trial::{Trial, Verdict};

/// What is left of closing that was found futile: so many closes per connection and second.
pub const HELD_BACK: f64 = 1.5 / 3600.0;

/// Closes per connection that a pool may have for balance beyond what is left of futile
/// closing, until it changes. No change that can be evened out takes as many; so whatever a trial
/// is made to believe by clients who come and go, an hour costs no more than this and
/// [`HELD_BACK`].
pub const MOST: f64 = 2.5;

/// How much faster it goes where closing that was held back is found to help.
const RISE: f64 = 8.0;

/// It is said that closing does not help where those below the mean have got so many standard
/// deviations fewer connections than they should: so seldom by luck that one of many nodes, looking
/// again and again, does not say so where all is well.
const SURE_TO_FAIL: f64 = 4.0;

/// The same where it is held back: few closes are left to tell by, and being wrong costs little.
const SURE_TO_FAIL_AGAIN: f64 = 2.0;

/// A load balancer that is heard of alone for so long is said to be so: others may be slow to
/// announce themselves.
const TIME_TO_BE_ALONE: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    phase: Phase,
    members: Vec<Rc<str>>,
    restarts: Vec<u32>,
    changed_at: Timestamp,
    trial: Option<Trial>,
    held_back: Option<HeldBack>,
    /// Closes per connection, less what is allowed in any case.
    spent: f64,
}

#[derive(Clone, Debug)]
struct HeldBack {
    /// Closes per connection and second at most.
    hazard: f64,
    /// The one that closing does not help.
    cause: Rc<str>,
}

/// Members of a pool, each with its load.
#[derive(Debug, Default)]
pub struct Members {
    /// Their ids.
    pub ids: Vec<Rc<str>>,
    /// How often each has been seen to start again, empty.
    pub restarts: Vec<u32>,
    /// The load of each.
    pub loads: Vec<Load>,
}

// === impl Pool ===

impl Pool {
    /// The hazards of `members`, for the `elapsed` since they were last asked for. Nothing is
    /// tried where nobody `acts` on them.
    pub fn hazards(
        &mut self,
        settings: &Rebalance,
        members: &Members,
        kappa: f64,
        acts: bool,
        elapsed: Duration,
        now: Timestamp,
    ) -> Vec<f64> {
        let Members { ids, restarts, loads } = members;
        let by_connections = by_connections(loads, settings.tolerance);
        let loads = by_connections.as_ref().unwrap_or(loads);
        if self.members != *ids || self.restarts != *restarts {
            self.members.clone_from(ids);
            self.restarts.clone_from(restarts);
            self.changed_at = now;
            self.trial = None;
            self.held_back = None;
            self.spent = 0.0;
        }
        let allowed = HELD_BACK * elapsed.as_secs_f64();
        self.spent = (self.spent - allowed).max(0.0);
        let (phase, mut hazards) = settings.hazards(self.phase, loads, kappa);
        self.phase = phase;
        if phase == Phase::Even || !acts {
            self.trial = None;
            self.held_back = None;
            return hazards;
        }
        self.judge(settings, ids, loads, &hazards, now);
        if let Some(held_back) = &self.held_back {
            let part = held_back.hazard / mean_hazard(loads, &hazards);
            let floor = settings.floor_hazard();
            if part < 1.0 {
                for hazard in &mut hazards {
                    *hazard = (*hazard * part).max(floor.min(*hazard));
                }
            }
        }
        if let Some(trial) = &mut self.trial {
            trial.close(loads, &hazards, elapsed);
        }
        // What the floor asks for is not closed for balance.
        let beyond = (mean_hazard(loads, &hazards) - settings.floor_hazard()).max(0.0);
        let spent = beyond * elapsed.as_secs_f64();
        self.spent += if spent.is_finite() { spent } else { 0.0 };
        hazards
    }

    /// How it is doing.
    #[must_use]
    pub fn balance(&self, now: Timestamp) -> Balance {
        match (&self.members[..], &self.held_back, self.phase) {
            ([only], ..) if now.since(self.changed_at) >= TIME_TO_BE_ALONE => {
                Balance::Alone(Rc::clone(only))
            }
            (_, Some(held_back), _) => Balance::Futile(Rc::clone(&held_back.cause)),
            (_, None, Phase::Closing) => Balance::Closing,
            (_, None, Phase::Even) => Balance::Even,
        }
    }

    /// Lets the trial that goes on say what it can.
    fn judge(
        &mut self,
        settings: &Rebalance,
        ids: &[Rc<str>],
        loads: &[Load],
        law: &[f64],
        now: Timestamp,
    ) {
        let trial = self.trial.get_or_insert_with(|| Trial::new(loads, now));
        let time = settings.tau();
        let sure = match self.held_back {
            None => SURE_TO_FAIL,
            Some(_) => SURE_TO_FAIL_AGAIN,
        };
        let verdict = match trial.verdict(loads, sure, time, now) {
            _ if self.spent >= MOST => Verdict::Futile(trial.least(loads)),
            verdict => verdict,
        };
        match (verdict, &mut self.held_back) {
            (Verdict::Open, _) => return,
            // Nothing new: the longer it is watched, the surer.
            (Verdict::Helps, None) if trial.age(now) < time => return,
            (Verdict::Helps, None) => {}
            (Verdict::Helps, Some(held_back)) => {
                held_back.hazard *= RISE;
                if held_back.hazard >= mean_hazard(loads, law) {
                    self.held_back = None;
                }
            }
            (Verdict::Futile(_), Some(held_back)) => held_back.hazard = HELD_BACK,
            (Verdict::Futile(index), None) => {
                let cause = ids.get(index).cloned().unwrap_or_else(|| Rc::from(""));
                self.held_back = Some(HeldBack { hazard: HELD_BACK, cause });
            }
        }
        self.trial = Some(Trial::new(loads, now));
    }
}

/// Closes per connection and second, over all of `loads`.
fn mean_hazard(loads: &[Load], hazards: &[f64]) -> f64 {
    let closes: f64 =
        loads.iter().zip(hazards).map(|(load, hazard)| load.connections * hazard).sum();
    closes / loads.iter().map(|load| load.connections).sum::<f64>()
}

#[cfg(test)]
mod tests {
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::close_rate::PerSecond;

    const SECOND: Duration = Duration::from_secs(1);

    fn settings() -> Rebalance {
        Rebalance { max_per_second: PerSecond::new(1e6).unwrap(), ..Rebalance::default() }
    }

    /// A pool of clients that send a request a second each, without any chance.
    struct Fluid {
        pool: Pool,
        connections: Vec<f64>,
        /// The part of all that are closed that lands on each.
        landing: Vec<f64>,
        second: u64,
        closes: f64,
    }

    impl Fluid {
        fn new(connections: &[f64], landing: &[f64]) -> Self {
            let (connections, landing) = (connections.to_vec(), landing.to_vec());
            Self { pool: Pool::default(), connections, landing, second: 0, closes: 0.0 }
        }

        fn members(&self) -> Members {
            let load = |connections: &f64| Load {
                rate: PerSecond::new(*connections).unwrap(),
                measured_over: Duration::from_secs(10),
                trend: 1.0,
                connections: *connections,
                weight: 1.0,
            };
            let ids = (1..=self.connections.len()).map(|number| format!("edge-{number}").into());
            let loads: Vec<_> = self.connections.iter().map(load).collect();
            Members { ids: ids.collect(), restarts: vec![0; loads.len()], loads }
        }

        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.second += 1;
                let now = Timestamp::from_nanos(self.second * 1_000_000_000);
                let members = self.members();
                let hazards = self.pool.hazards(&settings(), &members, 1.0, true, SECOND, now);
                let mut closed = 0.0;
                for (connections, hazard) in self.connections.iter_mut().zip(hazards) {
                    closed += *connections * hazard;
                    *connections -= *connections * hazard;
                }
                for (connections, part) in self.connections.iter_mut().zip(&self.landing) {
                    *connections += closed * part;
                }
                self.closes += closed;
            }
        }

        fn balance(&self) -> Balance {
            self.pool.balance(Timestamp::from_nanos(self.second * 1_000_000_000))
        }

        fn closes_per_connection(&self) -> f64 {
            self.closes / self.connections.iter().sum::<f64>()
        }

        fn worst(&self) -> f64 {
            let mean = self.connections.iter().sum::<f64>() / self.connections.len() as f64;
            self.connections.iter().map(|own| (own / mean - 1.0).abs()).fold(0.0, f64::max)
        }
    }

    /// Where clients land, in vain, and who gets least of what it should have.
    fn in_vain() -> [(Vec<f64>, Vec<f64>, &'static str); 4] {
        [
            // Announced, and not in DNS.
            (vec![300.0, 300.0, 0.0], vec![0.5, 0.5, 0.0], "edge-3"),
            // Out of DNS, with clients that are left.
            (vec![300.0, 120.0, 300.0], vec![0.5, 0.0, 0.5], "edge-2"),
            // All behind one resolver, which keeps the first.
            (vec![300.0, 300.0, 0.0], vec![1.0, 0.0, 0.0], "edge-3"),
            // Three of four to one of three.
            (vec![450.0, 75.0, 75.0], vec![0.75, 0.125, 0.125], "edge-2"),
        ]
    }

    #[test]
    fn an_hour_of_closing_in_vain_costs_each_connection_few_closes_and_is_named() {
        for (connections, landing, cause) in in_vain() {
            let mut fluid = Fluid::new(&connections, &landing);
            fluid.run(60);
            assert_eq!(fluid.balance(), Balance::Futile(cause.into()), "{landing:?}");
            fluid.run(3540);
            let closes = fluid.closes_per_connection();
            assert!((0.5..2.6).contains(&closes), "{landing:?}: {closes}");
        }
    }

    #[test]
    fn once_the_cause_is_gone_it_settles_within_twice_its_time() {
        for (connections, landing, _) in in_vain() {
            let mut fluid = Fluid::new(&connections, &landing);
            fluid.run(600);
            fluid.landing = vec![1.0 / 3.0; 3];
            fluid.run(120);
            assert!(fluid.worst() <= 0.1, "{landing:?}: {:?}", fluid.connections);
            assert_eq!(fluid.balance(), Balance::Even, "{landing:?}");
        }
    }

    #[test]
    fn a_change_of_the_pool_starts_afresh() {
        let mut fluid = Fluid::new(&[300.0, 300.0, 0.0], &[0.5, 0.5, 0.0]);
        fluid.run(600);
        assert_eq!(fluid.balance(), Balance::Futile("edge-3".into()));
        fluid.connections.push(0.0);
        fluid.landing.push(0.0);
        fluid.run(1);
        assert_eq!(fluid.balance(), Balance::Closing);
    }

    #[test]
    fn where_closing_helps_it_goes_on_to_the_end() {
        for connections in [vec![300.0, 300.0, 0.0], vec![40.0, 0.0], vec![500.0, 100.0, 10.0]] {
            let landing = vec![1.0 / connections.len() as f64; connections.len()];
            let mut fluid = Fluid::new(&connections, &landing);
            for _ in 0..80 {
                fluid.run(1);
                assert!(!matches!(fluid.balance(), Balance::Futile(_)), "{connections:?}");
            }
            assert!(fluid.worst() <= 0.1, "{:?}", fluid.connections);
            assert_eq!(fluid.balance(), Balance::Even);
        }
    }

    #[test]
    fn an_even_pool_and_one_alone_are_left_alone() {
        for connections in [vec![1000.0; 3], vec![1000.0], vec![0.0; 2]] {
            let landing = vec![1.0 / connections.len() as f64; connections.len()];
            let mut fluid = Fluid::new(&connections, &landing);
            fluid.run(600);
            let alone = Balance::Alone("edge-1".into());
            let expected = if connections.len() == 1 { alone } else { Balance::Even };
            assert_eq!(fluid.balance(), expected);
            assert!(fluid.closes <= 0.0, "{connections:?}");
        }
    }
}
