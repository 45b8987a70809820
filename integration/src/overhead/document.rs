//! `docs/performance.md` and the table for a terminal, both from the result.

use std::fmt::Write;

use crate::report::{Overhead, Scale, Spread};

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
    text.push_str(&many_connections(&overhead.scale));
    text
}

/// What many connections cost, as Markdown.
fn many_connections(scale: &[Scale]) -> String {
    let Some(first) = scale.first() else { return String::new() };
    let mut text = format!(
        "\n## Many connections\n\n{} connections on one worker, over HTTP/1.1, each with one request when it \
         opened.",
        first.connections
    );
    if first.connections < first.wanted {
        let _ = write!(
            text,
            " There were to be {}, but a process may not open more files on this machine.",
            first.wanted
        );
    }
    text.push_str(
        " *Idle*: no requests at all; *active*: one connection in twenty has one a second. A *turn* is one of the \
         worker's event loop, as Envoy measures it (`dispatcher.loop_duration_us`); the filter's tick is in one of \
         them, ten times a second.\n\n\
         | contender | bytes for each connection | added | CPU while idle, us/s | longest turn idle, us | longest turn active, us | tracked |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for of in scale {
        let tracked = of.tracked.map_or("–".to_owned(), |tracked| tracked.to_string());
        let _ = writeln!(
            text,
            "| `{}` | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {tracked} |",
            of.name,
            of.bytes_per_connection,
            of.bytes_per_connection - first.bytes_per_connection,
            of.idle_cpu_us_per_second,
            of.longest_turn_idle_us,
            of.longest_turn_active_us,
        );
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
