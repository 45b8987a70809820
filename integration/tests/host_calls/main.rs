//! What the filters ask of Envoy, counted: the modules as they ship run in a host that keeps count.
//!
//! A host call costs more than most of what a filter does between two of them (design, section 7,
//! point 7), and so does a callback. One that creeps in fails a test here.

#[path = "../configuration/bad.rs"]
mod bad;
mod cases;
mod documented;
mod guest;
mod host;
mod privileges;
mod refusals;
mod vm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::Result;
use wasmi::{Engine, Module};

use self::cases::{Counts, Tally};
use self::documented::{Documented, table};
use self::vm::{Vm, wasm};

/// The modules, and how many KiB each may have.
const MODULES: [(&str, usize); 2] = [("node_filter.wasm", 214), ("lb_filter.wasm", 180)];

/// Host calls at most, in the cases that requests are made of.
const BOUNDS: [(&str, u64); 9] = [
    ("node-filter: request with a stamp", 2),
    ("node-filter: request without a stamp", 1),
    ("HTTP role: request with a stamp", 4),
    ("HTTP role: upload with a stamp", 4),
    ("HTTP role: request without a stamp", 1),
    ("HTTP role: upload without a stamp", 1),
    ("connection role: read, no close pending", 0),
    ("connection role: write, no close pending", 0),
    ("connection role: connection ended", 0),
];

/// Counts all cases once.
fn measured() -> Result<BTreeMap<&'static str, Counts>> {
    let mut tally = Tally::default();
    cases::node(&mut tally)?;
    cases::both_roles(&mut tally)?;
    cases::http_role_alone(&mut tally)?;
    cases::busy(&mut tally)?;
    cases::busy_while_a_close_is_under_way(&mut tally)?;
    tally.counts()
}

/// Calls from the module to the host: all that are not callbacks.
fn host_calls(counts: &Counts) -> u64 {
    counts.iter().filter(|(name, _)| !name.starts_with("proxy_on_")).map(|(_, times)| times).sum()
}

#[test]
fn each_case_makes_the_calls_that_are_documented_and_stays_within_its_bound() -> Result<()> {
    let measured = measured()?;
    let mut documented = Documented::read()?.cases;
    let mut differences = String::new();
    for (case, counts) in &measured {
        if documented.remove(*case).as_ref() != Some(counts) {
            differences.push_str(&table(case, counts));
            differences.push('\n');
        }
    }
    assert!(
        differences.is_empty() && documented.is_empty(),
        "docs/host-calls.md does not have what was counted:\n\n{differences}\nnor did these occur: {:?}",
        documented.keys()
    );
    for (case, bound) in BOUNDS {
        if let Some(counts) = measured.get(case) {
            let calls = host_calls(counts);
            assert!(calls <= bound, "{case}: {calls} host calls, more than {bound}: {counts:#?}");
        }
    }
    Ok(())
}

#[test]
fn modules_export_what_is_documented_and_nothing_else() -> Result<()> {
    let documented = Documented::read()?.exports;
    for (name, _) in MODULES {
        let module = Module::new(&Engine::default(), wasm(name)?)?;
        let exports: BTreeSet<_> =
            module.exports().map(|export| export.name().to_owned()).collect();
        let none = BTreeSet::new();
        let expected = documented.get(name).unwrap_or(&none);
        let missing: Vec<_> = expected.difference(&exports).collect();
        let extra: Vec<_> = exports.difference(expected).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{name}: exports that are not documented {extra:#?}, documented that are not there {missing:#?}"
        );
    }
    Ok(())
}

#[test]
fn modules_are_small() -> Result<()> {
    for (name, max_kib) in MODULES {
        let bytes = wasm(name)?.len();
        assert!(bytes <= max_kib * 1024, "{name} has {bytes} bytes, more than {max_kib} KiB");
    }
    Ok(())
}

#[test]
fn callbacks_for_contexts_that_are_not_there_or_fit_badly_let_all_pass() -> Result<()> {
    let (mut node, _) = cases::node_vm()?;
    let mut edge = cases::edge_vm()?;
    let connection_role = edge.configure(r#"{ "role": "connection" }"#)?;
    let http_role = edge.configure(r#"{ "role": "http" }"#)?;
    let nobody = 1_000_000;
    node.exchange(nobody, &cases::plain(&[2]))?;
    edge.exchange(nobody, &cases::plain(&[2]))?;
    edge.exchange(connection_role, &cases::plain(&[2]))?;
    cases::on_connection(edge.host(), 7);
    let gone = edge.connect(connection_role)?;
    edge.disconnect(gone)?;
    for connection in [nobody, gone, edge.connect(nobody)?, edge.connect(http_role)?] {
        edge.read(connection, b"bytes")?;
        assert_eq!(edge.write(connection, b"bytes")?, b"bytes");
        edge.disconnect(connection)?;
    }
    edge.tick()
}

/// A VM that has ended, by a trap or with its module, leaves its queue behind, from which nobody takes.
#[test]
fn closes_for_a_vm_that_is_gone_do_not_pile_up() -> Result<()> {
    let mut edge = cases::edge_vm()?;
    let http_role = edge.configure(r#"{ "role": "http" }"#)?;
    edge.host().queues.push((b"spillway.closes.gone".to_vec(), VecDeque::new()));
    let gone = edge.host().queues.len() - 1;
    let named = "lb=\"edge-1\", conns=(1;vm=gone 2;vm=gone 3;vm=gone 4;vm=gone)";
    let response = [(":status", "200"), ("spillway-close", named)];
    for _ in 0..10_000 {
        edge.exchange(http_role, &vm::Exchange { response: &response, ..cases::plain(&[2]) })?;
    }
    edge.tick()?;
    let waiting = edge.host().queues[gone].1.len();
    assert!((1..=1024).contains(&waiting), "{waiting}");
    let refused = edge.host().metric("spillway.lb.closes_refused.unknown_connection");
    assert_eq!(usize::try_from(refused)?, 40_000 - waiting);
    Ok(())
}

/// Requests in which a leak of a byte each would show: a page of memory has 65,536.
const REQUESTS: u64 = 100_000;
/// Until tables and buffers have their size.
const WARM_UP: u64 = 5_000;

#[test]
fn memory_stays_as_it_is_over_a_hundred_thousand_requests() -> Result<()> {
    let (mut node, root) = cases::node_vm()?;
    stays_flat(&mut node, |vm, number| cases::stamped(vm, root, number))?;
    Ok(())
}

#[test]
fn memory_of_an_edge_stays_as_it_is_too() -> Result<()> {
    let mut edge = cases::edge_vm()?;
    let connection_role = edge.configure(r#"{ "role": "connection" }"#)?;
    let http_role = edge.configure(r#"{ "role": "http" }"#)?;
    // A connection has two requests.
    stays_flat(&mut edge, |vm, number| {
        cases::on_connection(vm.host(), number);
        let connection = vm.connect(connection_role)?;
        vm.exchange(http_role, &cases::plain(&[2]))?;
        vm.exchange(http_role, &cases::plain(&[2]))?;
        vm.disconnect(connection)
    })
}

fn stays_flat(vm: &mut Vm, mut request: impl FnMut(&mut Vm, u64) -> Result<()>) -> Result<()> {
    let mut before = 0;
    for number in 0..WARM_UP + REQUESTS {
        if number == WARM_UP {
            before = vm.memory_bytes()?;
        }
        request(vm, number)?;
        if number % 100 == 99 {
            vm.tick()?;
        }
    }
    assert_eq!(vm.memory_bytes()?, before, "the module's memory grows");
    Ok(())
}
