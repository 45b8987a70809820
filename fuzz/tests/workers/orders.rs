//! Every order in which workers can do what they do, one after the other.
//!
//! A worker runs on a thread of its own, but only while it has the baton. At each point where what it
//! does next can meet what others do, it is decided who goes on, or that its VM traps there. What is
//! decided is noted, and the next run decides otherwise at the last of these points, until all has
//! been tried.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// See the module's documentation.
pub struct Baton {
    state: Mutex<State>,
    passed: Condvar,
}

struct State {
    /// What was decided in this run, or is to be, of how many.
    decisions: Vec<(usize, usize)>,
    decided: usize,
    phases: Vec<Phase>,
    holder: Option<usize>,
    /// VMs that may trap still.
    traps: usize,
}

/// How far a worker is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nobody looks yet at what it does.
    Preparing,
    Working,
    Done,
}

/// Has `run` run in every order of so many workers, of whose VMs so many may trap. Gives the number
/// of orders.
pub fn every_order(workers: usize, traps: usize, run: impl Fn(&Arc<Baton>)) -> usize {
    let (mut decisions, mut orders) = (Vec::new(), 0);
    loop {
        let baton = Arc::new(Baton::new(workers, traps, decisions));
        run(&baton);
        orders += 1;
        decisions = std::mem::take(&mut baton.lock().decisions);
        loop {
            match decisions.pop() {
                None => return orders,
                Some((taken, of)) if taken + 1 < of => {
                    decisions.push((taken + 1, of));
                    break;
                }
                Some(_) => {}
            }
        }
    }
}

// === impl Baton ===

impl Baton {
    pub fn new(workers: usize, traps: usize, decisions: Vec<(usize, usize)>) -> Self {
        let phases = vec![Phase::Preparing; workers];
        let state = State { decisions, decided: 0, phases, holder: None, traps };
        Self { state: Mutex::new(state), passed: Condvar::new() }
    }

    /// The worker `me` is prepared; comes back when it has the baton.
    pub fn begin(&self, me: usize) {
        let mut state = self.lock();
        let holder = state.holder;
        state.phases[me] = Phase::Working;
        if !state.phases.contains(&Phase::Preparing) && holder.is_none() {
            let working = state.working();
            let first = state.decide(working.len());
            state.holder = working.get(first).copied();
            self.passed.notify_all();
        }
        self.wait(state, me);
    }

    /// The VM of the worker `me` begins anew: nobody looks at that, and it keeps the baton.
    pub fn prepare_again(&self, me: usize) {
        self.lock().phases[me] = Phase::Preparing;
    }

    /// The next thing that the worker `me` does may meet what others do. False if its VM traps.
    pub fn point(&self, me: usize) -> bool {
        let mut state = self.lock();
        if state.phases[me] != Phase::Working {
            return true;
        }
        let working = state.working();
        let may_trap = usize::from(state.traps > 0);
        let decision = state.decide(working.len() + may_trap);
        let Some(next) = working.get(decision) else {
            state.traps -= 1;
            return false;
        };
        state.holder = Some(*next);
        self.passed.notify_all();
        self.wait(state, me);
        true
    }

    /// The worker `me` has done its work; comes back when all have.
    pub fn end(&self, me: usize) {
        let mut state = self.lock();
        state.phases[me] = Phase::Done;
        let working = state.working();
        let next = if working.is_empty() { 0 } else { state.decide(working.len()) };
        state.holder = working.get(next).copied();
        self.passed.notify_all();
        while state.holder.is_some() {
            state = self.passed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, me: usize) {
        while state.holder != Some(me) {
            state = self.passed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn working(&self) -> Vec<usize> {
        (0..self.phases.len()).filter(|worker| self.phases[*worker] == Phase::Working).collect()
    }

    /// One of so many.
    fn decide(&mut self, of: usize) -> usize {
        if of == 1 {
            return 0;
        }
        if self.decided == self.decisions.len() {
            self.decisions.push((0, of));
        }
        let (taken, known) = self.decisions[self.decided];
        assert_eq!(known, of, "the same decisions lead to the same point");
        self.decided += 1;
        taken
    }
}
