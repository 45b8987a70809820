//! The requests of a load balancer over all its workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuzz::host::{self, Process, Shared};

use crate::orders::{Baton, every_order};
use crate::worker::{Pending, Vm, Work, run};

/// Each worker has counted requests, and shares them.
struct Counts {
    ticks: usize,
    /// Counted by VMs that are there still, and by those that have trapped.
    counted: AtomicU64,
    gone: AtomicU64,
}

/// Of the worker with this number: sums tell whose they are.
fn requests(worker: usize) -> u64 {
    1 << worker
}

impl Work for Counts {
    type Prepared = u64;

    fn meets(what: Shared, key: &[u8]) -> bool {
        matches!(what, Shared::GetData | Shared::SetData) && key.starts_with(b"spillway.total.")
    }

    fn prepare(&self, _: usize, vm: &mut Vm) -> Self::Prepared {
        let _: Pending = vm.pending(0);
        1
    }

    fn work(&self, worker: usize, vm: &mut Vm, counted: &mut Self::Prepared) {
        for _ in 0..self.ticks {
            while *counted < requests(worker) {
                vm.request(0);
                *counted += 1;
            }
            vm.tick();
        }
        let trapped = host::with(|host| host.trapped);
        let sum = if trapped { &self.gone } else { &self.counted };
        sum.fetch_add(*counted, Ordering::Relaxed);
    }

    fn after(&self, _: usize, _: &mut Vm, _: Self::Prepared) {}
}

/// What a VM takes the total for that comes later.
struct Reader(AtomicU64);

impl Work for Reader {
    type Prepared = ();

    fn meets(what: Shared, key: &[u8]) -> bool {
        matches!(what, Shared::GetData | Shared::SetData) && key.starts_with(b"spillway.total.")
    }

    fn prepare(&self, _: usize, vm: &mut Vm) {
        vm.pending(0);
    }

    fn work(&self, _: usize, vm: &mut Vm, (): &mut ()) {
        vm.tick();
        let (_, position) = vm.request(0);
        // Both of its own are part of it.
        self.0.store(position.total - 2, Ordering::Relaxed);
    }

    fn after(&self, _: usize, _: &mut Vm, (): ()) {}
}

fn totals(workers: usize, traps: usize, check: impl Fn(u64, u64, u64)) {
    let orders = every_order(workers, traps, |baton| {
        let process = Arc::new(Process::default());
        let work = Counts { ticks: 1, counted: AtomicU64::new(0), gone: AtomicU64::new(0) };
        run(&work, workers, baton, &process);
        let reader = Reader(AtomicU64::new(0));
        run(&reader, 1, &Arc::new(Baton::new(1, 0, Vec::new())), &process);
        check(reader.0.into_inner(), work.counted.into_inner(), work.gone.into_inner());
    });
    println!("{workers} workers, {traps} traps: {orders} orders");
    assert!(orders > 5, "{orders} orders are too few to be all");
}

#[test]
fn each_request_of_each_worker_is_counted_once() {
    totals(2, 0, |total, counted, _| assert_eq!(total, counted));
    totals(3, 0, |total, counted, _| assert_eq!(total, counted));
}

#[test]
fn a_vm_that_traps_takes_no_more_with_it_than_it_has_not_shared() {
    totals(2, 1, |total, counted, gone| {
        assert!(total == counted || total == counted + gone, "{total} of {counted} and {gone}");
    });
}
