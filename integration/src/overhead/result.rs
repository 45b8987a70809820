//! What the samples come to: medians, what each adds, and how that compares.

use super::contenders::Contender;
use super::rounds::Sample;
use super::workloads::Workload;
use crate::report::{Cost, Measured, Ratio, Spread};

/// The samples of a contender, by workload, in the order of the rounds.
pub(super) type Samples = Vec<(Workload, Vec<Sample>)>;

/// A contender with what was measured.
pub(super) struct Entry {
    pub contender: Contender,
    pub samples: Samples,
    pub rss_kib: u64,
    pub start_ms: f64,
    /// Of each worker more.
    pub kib_per_worker: Option<f64>,
}

/// The middle, the least and the most.
pub(super) fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let (Some(min), Some(max)) = (values.first(), values.last()) else {
        return Spread::default();
    };
    let middle = values.len() / 2;
    let median = if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    };
    Spread { median, min: *min, max: *max }
}

/// The numbers of every contender.
pub(super) fn measured(entries: &[Entry]) -> Vec<Measured> {
    let base = entries.iter().find(|entry| entry.contender == Contender::NoFilter);
    entries.iter().map(|entry| of_entry(entry, base)).collect()
}

fn of_entry(entry: &Entry, base: Option<&Entry>) -> Measured {
    let workloads: Vec<_> = entry
        .samples
        .iter()
        .map(|(workload, samples)| {
            let without = base.and_then(|base| {
                base.samples.iter().find(|(other, _)| other == workload).map(|(_, samples)| samples)
            });
            cost(*workload, samples, without.map(Vec::as_slice))
        })
        .collect();
    let first = workloads.first().cloned().unwrap_or_default();
    let base_kib = base.and_then(|base| base.kib_per_worker);
    Measured {
        name: entry.contender.name(),
        words: entry.contender.words().to_owned(),
        cpu_us_per_request: first.cpu_us_per_request,
        rps: first.rps.median,
        rss_kib: entry.rss_kib,
        vm_kib: entry.kib_per_worker.zip(base_kib).map(|(own, base)| own - base),
        start_ms: entry.start_ms,
        workloads,
    }
}

fn cost(workload: Workload, samples: &[Sample], without: Option<&[Sample]>) -> Cost {
    let of = |number: fn(&Sample) -> f64| spread(samples.iter().map(number));
    let added = without.map(|without| {
        let pairs = samples.iter().zip(without);
        spread(pairs.map(|(own, base)| own.cpu_us_per_request - base.cpu_us_per_request))
    });
    Cost {
        workload: workload.name(),
        cpu_us_per_request: of(|sample| sample.cpu_us_per_request),
        added_us_per_request: added,
        rps: of(|sample| sample.requests_per_second),
        p50_us: of(|sample| sample.seen.p50_us).median,
        p99_us: of(|sample| sample.seen.p99_us).median,
        p999_us: of(|sample| sample.seen.p999_us).median,
        errors: samples.iter().map(|sample| sample.seen.errors).sum(),
    }
}

/// What everybody adds over what the empty filter adds, and what Lua adds; and over what a request
/// costs without a filter.
pub(super) fn ratios(contenders: &[Measured]) -> Vec<Ratio> {
    let find = |name: Contender, workload: &str| {
        let measured = contenders.iter().find(|contender| contender.name == name.name())?;
        measured.workloads.iter().find(|cost| cost.workload == workload)
    };
    let mut ratios = Vec::new();
    for contender in contenders {
        for cost in &contender.workloads {
            let Some(added) = cost.added_us_per_request.map(|added| added.median) else { continue };
            if contender.name == Contender::NoFilter.name() {
                continue;
            }
            let added_by = |name| Some(find(name, &cost.workload)?.added_us_per_request?.median);
            let whole = find(Contender::NoFilter, &cost.workload)
                .map(|cost| cost.cpu_us_per_request.median);
            for (to, by) in [
                (Contender::EmptySdkFilter, added_by(Contender::EmptySdkFilter)),
                (Contender::Lua, added_by(Contender::Lua)),
                (Contender::NoFilter, whole),
            ] {
                // Where one adds nothing that can be measured there is nothing to compare with.
                if let Some(by) = by.filter(|by| *by > 0.0)
                    && to.name() != contender.name
                {
                    ratios.push(Ratio {
                        workload: cost.workload.clone(),
                        of: contender.name.clone(),
                        to: to.name(),
                        ratio: added / by,
                    });
                }
            }
        }
    }
    ratios
}

#[cfg(test)]
mod tests {
    use super::super::load::Seen;
    use super::*;

    fn entry(contender: Contender, cpu: [f64; 3]) -> Entry {
        let samples = cpu.map(|cpu_us_per_request| Sample {
            cpu_us_per_request,
            requests_per_second: 1_000.0,
            seen: Seen::default(),
        });
        let samples = vec![(Workload::Http1Small, samples.to_vec())];
        Entry { contender, samples, rss_kib: 1, start_ms: 1.0, kib_per_worker: Some(10.0) }
    }

    #[test]
    fn what_is_added_is_paired_by_round_and_compared_by_its_median() {
        let measured = measured(&[
            entry(Contender::NoFilter, [20.0, 30.0, 25.0]),
            entry(Contender::EmptySdkFilter, [28.0, 38.0, 33.5]),
            entry(Contender::NodeFilter, [24.0, 34.0, 29.0]),
        ]);
        let added = measured[1].workloads[0].added_us_per_request.expect("there is a base");
        assert_eq!((added.median, added.min, added.max), (8.0, 8.0, 8.5));
        assert_eq!(measured[1].vm_kib, Some(0.0));
        let ratios = ratios(&measured);
        let of = |of: &str, to: &str| {
            ratios.iter().find(|ratio| ratio.of == of && ratio.to == to).map(|ratio| ratio.ratio)
        };
        assert_eq!(of("node_filter", "empty_sdk_filter"), Some(0.5));
        assert_eq!(of("node_filter", "no_filter"), Some(4.0 / 25.0));
        assert_eq!(of("node_filter", "lua"), None);
    }

    #[test]
    fn a_median_of_two_is_between_them() {
        assert!((spread([3.0, 1.0].into_iter()).median - 2.0).abs() < 1e-9);
    }
}
