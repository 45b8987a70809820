//! A close that is handed to the worker whose connection it is.

use std::sync::{Arc, Mutex};

use fuzz::host::{self, Process, Shared};
use redistribution::wire::NamedConnection;

use crate::orders::every_order;
use crate::worker::{Pending, Vm, Work, run};

/// The worker whose connection is to be closed; the others are asked for it.
const OWNER: usize = 0;

struct Handed {
    /// The connection, as the owner's last VM has it.
    name: Mutex<Vec<NamedConnection>>,
    outcome: Mutex<Outcome>,
}

#[derive(Clone, Copy, Default)]
struct Outcome {
    /// How often the client was told, and by how many VMs of the owner.
    told: usize,
    owner_trapped: bool,
    /// Somebody was asked whose VM did not trap.
    asked: bool,
}

impl Work for Handed {
    type Prepared = Pending;

    /// The budget is taken by the owner only, which may trap there. Queues are made before.
    fn meets(what: Shared, key: &[u8]) -> bool {
        match what {
            Shared::GetData | Shared::SetData => key.starts_with(b"spillway.close_budget."),
            Shared::Enqueue | Shared::Dequeue => true,
            Shared::Register | Shared::Resolve | Shared::Clock => false,
        }
    }

    fn prepare(&self, worker: usize, vm: &mut Vm) -> Pending {
        let pending = vm.pending(worker as u64);
        if worker == OWNER {
            self.name.lock().expect("no panic").push(pending.name);
        }
        pending
    }

    fn work(&self, worker: usize, vm: &mut Vm, pending: &mut Pending) {
        if worker == OWNER {
            vm.queue_ready();
            vm.queue_ready();
        } else {
            // As the nodes know it: the first VM's.
            let name = self.name.lock().expect("no panic")[0];
            Vm::respond(pending, &[name]);
        }
        let trapped = host::with(|host| host.trapped);
        let mut outcome = self.outcome.lock().expect("no panic");
        match worker {
            OWNER => outcome.owner_trapped |= trapped,
            _ => outcome.asked |= !trapped,
        }
    }

    fn after(&self, worker: usize, vm: &mut Vm, pending: Pending) {
        if worker == OWNER {
            vm.tick();
            for _ in 0..2 {
                Vm::respond(&pending, &[]);
            }
            let told = usize::from(Vm::tells(&pending));
            vm.tick();
            let counted = host::with(|host| host.metric("spillway.lb.closes_admitted"));
            assert_eq!(counted, i64::try_from(told).expect("one"), "a close is done once");
            self.outcome.lock().expect("no panic").told += told;
        }
    }
}

fn hand_overs(workers: usize, traps: usize) {
    let orders = every_order(workers, traps, |baton| {
        let (name, outcome) = (Mutex::default(), Mutex::default());
        let work = Handed { name, outcome };
        run(&work, workers, baton, &Arc::new(Process::default()));
        let Outcome { told, owner_trapped, asked } = work.outcome.into_inner().expect("no panic");
        if owner_trapped {
            // Its clients have gone with it, and their names.
            assert_eq!(told, 0);
        } else {
            assert!(told == 1 || !asked, "a close is lost");
        }
    });
    println!("{workers} workers, {traps} traps: {orders} orders");
    assert!(orders > 5, "{orders} orders are too few to be all");
}

#[test]
fn a_close_that_several_workers_hand_over_is_done_once() {
    hand_overs(2, 0);
    hand_overs(3, 0);
}

#[test]
fn a_close_is_lost_with_the_vm_that_has_it_and_not_otherwise() {
    hand_overs(2, 1);
    hand_overs(3, 1);
}
