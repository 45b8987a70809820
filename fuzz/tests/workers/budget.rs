//! `max_closes_per_second`: the budget that workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fuzz::host::{self, Process, Shared};

use crate::orders::every_order;
use crate::worker::{Pending, Vm, Work, run};

/// What 20 closes per second allow at once: a tenth of a second's.
const BURST: usize = 2;

/// Each worker is asked to close its own connections.
struct Closes {
    each: u64,
    told: AtomicUsize,
}

impl Work for Closes {
    type Prepared = Vec<Pending>;

    fn meets(what: Shared, key: &[u8]) -> bool {
        matches!(what, Shared::GetData | Shared::SetData)
            && key.starts_with(b"spillway.close_budget.")
    }

    fn prepare(&self, worker: usize, vm: &mut Vm) -> Self::Prepared {
        (0..self.each).map(|n| vm.pending(worker as u64 * 10 + n)).collect()
    }

    fn work(&self, _: usize, _: &mut Vm, pending: &mut Self::Prepared) {
        for pending in pending {
            Vm::respond(pending, &[pending.name]);
            let told = Vm::tells(pending);
            if !host::with(|host| host.trapped) {
                self.told.fetch_add(usize::from(told), Ordering::Relaxed);
            }
        }
    }

    fn after(&self, _: usize, _: &mut Vm, _: Self::Prepared) {}
}

fn closes(workers: usize, each: u64, traps: usize, check: impl Fn(usize)) {
    let orders = every_order(workers, traps, |baton| {
        let work = Closes { each, told: AtomicUsize::new(0) };
        run(&work, workers, baton, &Arc::new(Process::default()));
        check(work.told.into_inner());
    });
    println!("{workers} workers, {each} closes each, {traps} traps: {orders} orders");
    assert!(orders > 5, "{orders} orders are too few to be all");
}

#[test]
fn workers_close_as_many_together_as_one_may() {
    closes(3, 1, 0, |told| assert_eq!(told, BURST));
    closes(2, 2, 0, |told| assert_eq!(told, BURST));
}

#[test]
fn a_vm_that_traps_gives_no_close_away() {
    // What it had taken and not done is lost: one close.
    closes(2, 2, 1, |told| assert!((BURST - 1..=BURST).contains(&told), "{told} closes"));
}
