//! `docs/performance.md` and the table for a terminal, both from the result.

use std::fmt::Write;

use crate::report::{Overhead, Spread};

/// The document, as the command writes it.
pub(super) fn document(overhead: &Overhead) -> String {
    let machine = &overhead.machine;
    let mut text = format!(
        "# Performance\n\nWritten by `cargo overhead --write-docs`, not by hand: Envoy {}, {}, {} x {}, Linux {}, \
         {}. Medians of {} rounds of {:.0} s (least to most), in which all contenders took turns on one worker \
         each. The clients, wrk and h2load, ran on the same machine.\n\n\
         *CPU* is the CPU time of the Envoy process for each request, *added* is that less what no filter took \
         in the same round. [Host calls](host-calls.md) are counted apart.\n\n",
        overhead.envoy_version,
        overhead.date,
        machine.cores,
        machine.cpu,
        machine.kernel,
        machine.rustc,
        overhead.rounds,
        overhead.round_s,
    );
    text.push_str("| contender | what it is | memory, MiB | of each VM, KiB | start, ms |\n|---|---|---|---|---|\n");
    for contender in &overhead.contenders {
        let vm_kib = contender.vm_kib.map_or("–".to_owned(), |kib| format!("{kib:.0}"));
        let _ = writeln!(
            text,
            "| `{}` | {} | {:.1} | {vm_kib} | {:.0} |",
            contender.name,
            contender.words,
            contender.rss_kib as f64 / 1024.0,
            contender.start_ms,
        );
    }
    text.push_str(
        "\nMemory is resident, after all rounds. That of each VM is what a worker adds, beyond what it adds without \
         a filter.\n",
    );
    for workload in overhead.workloads() {
        let _ = write!(text, "\n## {workload}\n\n{}", table(overhead, &workload));
    }
    text
}

/// One workload, as Markdown.
pub(super) fn table(overhead: &Overhead, workload: &str) -> String {
    let ratio = |of: &str, to: &str| {
        let found = overhead.ratios.iter();
        let mut found = found.filter(|r| r.workload == workload && r.of == of && r.to == to);
        found.next().map_or("–".to_owned(), |ratio| format!("{:.2}", ratio.ratio))
    };
    let mut text = String::from(
        "| contender | CPU, us | added, us | of empty filter | of Lua | of no filter | requests/s | p50, us | p99, us | p99.9, us | errors |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (_, contender, cost) in overhead.costs(workload) {
        let added = cost.added_us_per_request.map_or("–".to_owned(), of_spread);
        let name = contender.name.as_str();
        let _ = writeln!(
            text,
            "| `{name}` | {} | {added} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
            of_spread(cost.cpu_us_per_request),
            ratio(name, "empty_sdk_filter"),
            ratio(name, "lua"),
            ratio(name, "no_filter"),
            cost.rps.median,
            cost.p50_us,
            cost.p99_us,
            cost.p999_us,
            cost.errors,
        );
    }
    text
}

fn of_spread(spread: Spread) -> String {
    format!("{:.2} ({:.2} to {:.2})", spread.median, spread.min, spread.max)
}
