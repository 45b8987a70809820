//! The three charts of a report: request rates, connections, and closes against the rate wanted.

use std::fmt::Write;

use super::chart::{Axes, Chart, EndLabel, Marker};
use super::html::rate;
use super::timeline::{EdgeSample, Sample, Timeline};

/// How many colours `report.css` has for edges; after them dashes tell edges apart.
const COLOURS: usize = 6;
/// The horizontal axis of all three.
const SINCE_START: &str = "seconds since the start";
/// Closes come one by one: their rate is drawn as a mean over so many seconds to each side.
const CLOSES_MEAN_REACH_S: f64 = 5.0;

/// The vertical lines that all charts share: events, and when the load settled.
pub(super) fn markers(run: &Timeline, settled_at_s: Option<f64>) -> Vec<Marker> {
    let events = run.events.iter().map(|event| Marker {
        at_s: event.at_s,
        text: event.text.clone(),
        goal: false,
    });
    let settled = settled_at_s.map(|at_s| Marker { at_s, text: "settled".to_owned(), goal: true });
    let mut markers: Vec<_> = events.chain(settled).collect();
    markers.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    markers
}

/// The class that gives an edge its colour, by its index.
pub(super) fn edge_class(edge: usize) -> String {
    let (colour, dash) = (edge % COLOURS, edge / COLOURS);
    if dash == 0 { format!("s{colour}") } else { format!("s{colour} dash{}", dash.min(2)) }
}

/// Requests per second of every edge, their mean, and the band around it that counts as even.
pub(super) fn requests(run: &Timeline, markers: &[Marker]) -> String {
    let rate_of = |edge: &EdgeSample| edge.requests_per_second;
    let band: Vec<_> = run
        .samples
        .iter()
        .filter_map(|sample| {
            let mean = sample.mean_requests_per_second()?;
            let width = mean * run.tolerance;
            Some((sample.at_s, (mean - width, mean + width)))
        })
        .collect();
    let highest = band.iter().map(|(_, (_, high))| *high);
    let mut chart = Chart::new(&Axes {
        label: "Requests per second of each edge over time, with the mean and the band around it",
        unit: "requests per second",
        highest: highest.fold(highest_of(run, rate_of), f64::max),
        time: SINCE_START,
        end_s: run.duration_s(),
        markers,
    });
    chart.band("band", &band);
    let mean = |sample: &Sample| (sample.at_s, sample.mean_requests_per_second());
    chart.line("mean", run.samples.iter().map(mean));
    edge_lines(&mut chart, run, rate_of, |value| format!("{}/s", rate(value)));
    chart.columns(columns(run, |sample| {
        let mut text =
            per_edge(run, sample, |edge| format!("{}/s", rate(edge.requests_per_second)));
        if let Some(mean) = sample.mean_requests_per_second() {
            let _ = write!(text, "\nmean {}/s", rate(mean));
        }
        text
    }));
    chart.finish()
}

/// Connections open on every edge.
pub(super) fn connections(run: &Timeline, markers: &[Marker]) -> String {
    let count_of = |edge: &EdgeSample| edge.connections as f64;
    let mut chart = Chart::new(&Axes {
        label: "Connections open on each edge over time",
        unit: "connections",
        highest: highest_of(run, count_of),
        time: SINCE_START,
        end_s: run.duration_s(),
        markers,
    });
    edge_lines(&mut chart, run, count_of, |value| format!("{value:.0}"));
    chart
        .columns(columns(run, |sample| per_edge(run, sample, |edge| edge.connections.to_string())));
    chart.finish()
}

/// Closes per second over all edges, against the rate that the policy wanted.
pub(super) fn closes(run: &Timeline, markers: &[Marker]) -> String {
    let highest = run.samples.iter().fold(0.0_f64, |highest, sample| {
        highest.max(sample.closes_per_second).max(sample.closes_wanted_per_second)
    });
    let mut chart = Chart::new(&Axes {
        label: "Connections closed per second over time, against the rate wanted",
        unit: "closes per second",
        highest,
        time: SINCE_START,
        end_s: run.duration_s(),
        markers,
    });
    for (from_s, sample) in with_start(run) {
        chart.bar("bar", (from_s, sample.at_s), sample.closes_per_second);
    }
    let smooth = closes_mean(run);
    // The rate wanted holds for the whole of an interval: a step, so that a jump is one.
    let wanted = with_start(run).flat_map(|(from_s, sample)| {
        let value = Some(sample.closes_wanted_per_second);
        [(from_s, value), (sample.at_s, value)]
    });
    chart.line("wanted", wanted);
    chart.line("closed", smooth.iter().map(|&(at_s, value)| (at_s, Some(value))));
    if let (Some(last), Some(&(_, mean))) = (run.samples.last(), smooth.last()) {
        let label = |class: &str, value: f64| EndLabel {
            class: class.to_owned(),
            value,
            name: class.to_owned(),
            text: format!("{}/s", rate(value)),
        };
        chart.end_labels(&[label("closed", mean), label("wanted", last.closes_wanted_per_second)]);
    }
    chart.columns(columns(run, |sample| {
        let total: u64 = sample.edges.iter().map(|edge| edge.closes).sum();
        format!(
            "closed {}/s\nwanted {}/s\n{total} closed so far",
            rate(sample.closes_per_second),
            rate(sample.closes_wanted_per_second),
        )
    }));
    chart.finish()
}

/// The closes per second around the middle of each sample, weighted by time.
///
/// It does not look across an event: a mean that does would rise before its cause, or lag behind.
fn closes_mean(run: &Timeline) -> Vec<(f64, f64)> {
    let events = || run.events.iter().map(|event| event.at_s);
    let mean_at = |at_s: f64| {
        let low = events().filter(|&event_s| event_s <= at_s).fold(0.0, f64::max);
        let high = events().filter(|&event_s| event_s > at_s).fold(f64::INFINITY, f64::min);
        let from_s = low.max(at_s - CLOSES_MEAN_REACH_S);
        let to_s = high.min(at_s + CLOSES_MEAN_REACH_S);
        let (closes, seconds) =
            with_start(run).fold((0.0, 0.0), |(closes, seconds), (start_s, sample)| {
                let inside_s = (sample.at_s.min(to_s) - start_s.max(from_s)).max(0.0);
                (closes + sample.closes_per_second * inside_s, seconds + inside_s)
            });
        if seconds > 0.0 { closes / seconds } else { 0.0 }
    };
    with_start(run)
        .map(|(start_s, sample)| f64::midpoint(start_s, sample.at_s))
        .map(|at_s| (at_s, mean_at(at_s)))
        .collect()
}

/// A line and its name for every edge.
fn edge_lines(
    chart: &mut Chart,
    run: &Timeline,
    value_of: impl Fn(&EdgeSample) -> f64,
    text_of: impl Fn(f64) -> String,
) {
    let mut labels = Vec::new();
    for (i, edge) in run.edges.iter().enumerate() {
        let up = |sample: &Sample| {
            let edge = sample.edges.get(i).filter(|edge| edge.up)?;
            Some(value_of(edge))
        };
        chart.line(&edge_class(i), run.samples.iter().map(|sample| (sample.at_s, up(sample))));
        if let Some(value) = run.samples.last().and_then(up) {
            labels.push(EndLabel {
                class: edge_class(i),
                value,
                name: edge.name.clone(),
                text: text_of(value),
            });
        }
    }
    chart.end_labels(&labels);
}

fn highest_of(run: &Timeline, value_of: impl Fn(&EdgeSample) -> f64) -> f64 {
    let edges = run.samples.iter().flat_map(|sample| &sample.edges);
    edges.map(value_of).fold(0.0, f64::max)
}

/// Each sample with the time at which its interval began, in seconds.
fn with_start(run: &Timeline) -> impl Iterator<Item = (f64, &Sample)> {
    let starts = std::iter::once(0.0).chain(run.samples.iter().map(|sample| sample.at_s));
    starts.zip(&run.samples)
}

fn columns(
    run: &Timeline,
    text_of: impl Fn(&Sample) -> String,
) -> impl Iterator<Item = (f64, f64, String)> {
    with_start(run).map(move |(from_s, sample)| {
        let text = format!("{:.1} s\n{}", sample.at_s, text_of(sample));
        (from_s, sample.at_s, text)
    })
}

fn per_edge(run: &Timeline, sample: &Sample, text_of: impl Fn(&EdgeSample) -> String) -> String {
    let edges = run.edges.iter().zip(&sample.edges).filter(|(_, edge)| edge.up);
    let lines = edges.map(|(name, edge)| format!("{} {}", name.name, text_of(edge)));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_are_averaged_over_time_and_not_across_an_event() {
        let sample =
            |at_s, closes_per_second| Sample { at_s, closes_per_second, ..Sample::default() };
        let mut run = Timeline {
            samples: vec![sample(2.0, 4.0), sample(3.0, 1.0), sample(4.0, 9.0)],
            ..Timeline::default()
        };
        let everything = (4.0 * 2.0 + 1.0 + 9.0) / 4.0;
        assert_eq!(closes_mean(&run), [(1.0, everything), (2.5, everything), (3.5, everything)]);
        run.events.push(super::super::Event { at_s: 3.0, text: "edge-3 joins".to_owned() });
        assert_eq!(closes_mean(&run), [(1.0, 3.0), (2.5, 3.0), (3.5, 9.0)]);
    }

    #[test]
    fn edges_beyond_the_colours_are_told_apart_by_dashes() {
        assert_eq!(edge_class(2), "s2");
        assert_eq!(edge_class(7), "s1 dash1");
        assert_eq!(edge_class(99), "s3 dash2");
    }
}
