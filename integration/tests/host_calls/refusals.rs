//! Bad configurations, in the modules as they ship.

use anyhow::Result;

use crate::bad::{Bad, Filter};
use crate::cases::edge_vm;
use crate::vm::Vm;

/// A megabyte: far more than a configuration of 64 KiB takes, and far less than one of 10 MiB.
const MEMORY: usize = 1 << 20;

#[test]
fn each_is_refused_with_the_same_message_and_without_the_memory_of_a_long_one() -> Result<()> {
    for (filter, mut vm) in
        [(Filter::Lb, edge_vm()?), (Filter::Node, Vm::start("node_filter.wasm")?)]
    {
        let before = vm.memory_bytes()?;
        for Bad { what, bytes } in filter.bad() {
            let refusal = vm.configure_by(&bytes).expect_err(what).to_string();
            assert!(refusal.starts_with("proxy_on_configure refused"), "{what}: {refusal}");
            let mistakes = filter.parse(&bytes).expect_err(what).to_string();
            let said = vm.host().log.pop().unwrap_or_default();
            assert!(said.ends_with(&format!("refused to start: {mistakes}")), "{what}: {said}");
            let grown = vm.memory_bytes()? - before;
            assert!(grown <= MEMORY, "{what}: {grown} bytes more memory");
        }
        // What follows a bad one is none the worse for it.
        vm.configure("{}")?;
    }
    Ok(())
}
