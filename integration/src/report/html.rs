//! The report: one HTML file with the result in a sentence, in numbers, in charts and in a table.
//!
//! The file is complete in itself: no script runs, nothing is fetched. The samples behind the
//! charts are in it too, as JSON, so that a report is also a record.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::charts::{closes, connections, markers, requests};
use super::load_table::table;
use super::{Summary, Timeline, grouped};

pub(super) const STYLE: &str = include_str!("report.css");

/// Writes the report of a run to `path`.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(path: &Path, run: &Timeline, summary: &Summary) -> Result<()> {
    let page = page(run, summary)?;
    fs::write(path, page).with_context(|| format!("cannot write the report {}", path.display()))
}

/// The whole page.
fn page(run: &Timeline, summary: &Summary) -> Result<String> {
    let changed_s = run.changed_at();
    let settled_s = summary.settle_s.map(|settle_s| changed_s.unwrap_or(0.0) + settle_s);
    let markers = markers(run, settled_s);
    let mut html = head(&run.title, &headline(run, summary), &deck(summary));
    html.push_str(&tiles(summary));
    html.push_str(&facts(run));

    let band = percent(run.tolerance).replace('+', "±");
    let legend = format!(
        "Load is even while every edge is in the <i class=\"key band\"></i> band, \
         {band} around the <i class=\"key mean\"></i> mean."
    );
    figure(&mut html, "Requests, by edge", &legend, &requests(run, &markers));
    let legend = "Every connection stays on its edge until it is closed and opened again.";
    figure(&mut html, "Open connections, by edge", legend, &connections(run, &markers));
    let legend = "<i class=\"key bar\"></i> closed in each sample, <i class=\"key closed\"></i> its mean \
                  over 10 s (not across events), <i class=\"key wanted\"></i> the rate that the policy wanted.";
    figure(&mut html, "Closes, all edges", legend, &closes(run, &markers));

    let legend = format!(
        "Requests per second of each edge, and how far that is from the mean; \
         <span class=\"uneven\">outside</span> or <span class=\"even\">inside</span> {band}."
    );
    figure(&mut html, "Load per edge", &legend, &table(run, summary));

    html.push_str(&foot(
        &format!(
            "Edges are load balancers. Settled: every edge within {band} of the mean, to the end of the run."
        ),
        run,
    )?);
    Ok(html)
}

/// A page up to its content: the title, the result in a sentence, and in another.
pub(super) fn head(title: &str, headline: &str, deck: &str) -> String {
    let (title, headline, deck) = (escape(title), escape(headline), escape(deck));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}: {headline}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><p class=\"eyebrow\">{title}</p><h1>{headline}</h1><p class=\"deck\">{deck}</p></header>\n"
    )
}

/// The end of a page: what is to be known of it (HTML), and what it was drawn from.
///
/// # Errors
///
/// `samples` is no JSON.
pub(super) fn foot(text: &str, samples: &impl Serialize) -> Result<String> {
    // `<` could end the element that it is in; in JSON strings it has another spelling.
    let samples = serde_json::to_string(samples)?.replace('<', "\\u003c");
    Ok(format!(
        "<footer>{text} The samples are in this file as JSON, in the element <code>#samples</code>.</footer>\n</main>\n\
         <script type=\"application/json\" id=\"samples\">{samples}</script>\n</body>\n</html>\n"
    ))
}

/// The result in a sentence.
fn headline(run: &Timeline, summary: &Summary) -> String {
    let joined: Vec<_> = run.joined().into_iter().map(|i| run.edges[i].name.as_str()).collect();
    let after = match joined.as_slice() {
        [] => "after the change".to_owned(),
        [names @ .., last] if !names.is_empty() => {
            format!("after {} and {last} joined", names.join(", "))
        }
        [name, ..] => format!("after {name} joined"),
    };
    match summary.settle_s {
        Some(settle_s) => format!("Load even {settle_s:.0} s {after}"),
        None if run.changed_at().is_some() => format!("Load not yet even {after}"),
        None => "Load not yet even".to_owned(),
    }
}

/// What it cost.
fn deck(summary: &Summary) -> String {
    let (closes, requests) = (grouped(summary.closes), grouped(summary.requests));
    let were = if summary.closes == 1 { "connection was" } else { "connections were" };
    if let Some(simulated) = &summary.simulated {
        return format!("{closes} {were} closed in the run. {}", simulated.fleet);
    }
    let failed = if summary.failed_requests == 0 {
        "None".to_owned()
    } else {
        grouped(summary.failed_requests)
    };
    format!("{closes} {were} closed in the run. {failed} of {requests} requests failed.")
}

fn tiles(summary: &Summary) -> String {
    let settled = match summary.settle_s {
        Some(settle_s) => ("good", format!("{settle_s:.0}<small> s</small>")),
        None => ("bad", "not yet".to_owned()),
    };
    let failed = if summary.failed_requests == 0 { "good" } else { "bad" };
    let mut tiles = vec![
        (settled.0, settled.1, "until settled".to_owned()),
        ("", grouped(summary.closes), "connections closed".to_owned()),
    ];
    if let Some(simulated) = &summary.simulated {
        let more = simulated.tiles.iter();
        tiles.extend(more.map(|(value, name)| ("", escape(value), escape(name))));
    } else {
        tiles.push(("", grouped(summary.requests), "requests".to_owned()));
        tiles.push((failed, grouped(summary.failed_requests), "failed requests".to_owned()));
    }
    let mut html = String::from("<section class=\"tiles\">\n");
    for (class, value, name) in tiles {
        let _ = writeln!(
            html,
            "<div class=\"tile {class}\"><strong>{value}</strong><span>{name}</span></div>"
        );
    }
    html.push_str("</section>\n");
    html
}

fn facts(run: &Timeline) -> String {
    let edges = run.edges.len();
    let envoy = match run.envoy_version.as_str() {
        "" => String::new(),
        version => format!("<div><dt>Envoy</dt><dd>{}</dd></div>", escape(version)),
    };
    format!(
        "<dl class=\"facts\"><div><dt>Policy</dt><dd>{}</dd></div>{envoy}\
         <div><dt>Edges shown</dt><dd>{edges}</dd></div><div><dt>Length of the run</dt><dd>{:.0} s</dd></div></dl>\n",
        escape(&run.policy),
        run.duration_s(),
    )
}

/// A titled part of the page; `legend` and `content` are HTML.
pub(super) fn figure(html: &mut String, title: &str, legend: &str, content: &str) {
    let _ = writeln!(
        html,
        "<figure><figcaption><h2>{}</h2><p>{legend}</p></figcaption>\n<div class=\"plot\">\n{content}</div></figure>",
        escape(title),
    );
}

/// Text as it may stand in HTML and SVG, in content and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A rate with as many digits as say something: `1,204`, `402`, `12.5`.
pub(super) fn rate(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value.abs() < 99.95 {
        return format!("{value:.1}");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // At least 99.95.
    let whole = value.round() as u64;
    grouped(whole)
}

/// A signed fraction as a percentage: `+1.2 %`, `−100 %`.
pub(super) fn percent(fraction: f64) -> String {
    if !fraction.is_finite() {
        return "–".to_owned();
    }
    let percent = fraction * 100.0;
    let digits = usize::from(percent.abs() < 9.95);
    let text = format!("{:.digits$}", percent.abs());
    let sign = match text.as_str() {
        "0.0" => "±",
        _ if percent < 0.0 => "−",
        _ => "+",
    };
    format!("{sign}{text} %")
}

#[cfg(test)]
mod tests {
    use super::super::synthetic;
    use super::*;

    #[test]
    fn a_report_is_one_file_that_fetches_nothing() {
        let run = synthetic::timeline(120);
        let summary = synthetic::summary(&run);
        let dir = tempfile::tempdir().expect("a temporary directory");
        // To look at it: SPILLWAY_REPORT=/tmp/report.html cargo test -p integration --lib report
        let path = std::env::var_os("SPILLWAY_REPORT")
            .map_or_else(|| dir.path().join("report.html"), Into::into);
        write(&path, &run, &summary).expect("the report is written");
        let html = fs::read_to_string(&path).expect("the report is there");

        for remote in ["http:", "https:", "src=", "href=", "@import", "url("] {
            assert!(!html.contains(remote), "the report refers to {remote}");
        }
        assert_eq!(html.matches("<svg").count(), 3);
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        assert!(html.contains("prefers-color-scheme"));
        assert!(!html.contains("NaN") && !html.contains("inf "), "a number got lost");
    }

    #[test]
    fn the_numbers_of_the_run_are_in_it() {
        let run = synthetic::timeline(120);
        let summary = synthetic::summary(&run);
        let html = page(&run, &summary).expect("a page");
        let settle_s = summary.settle_s.expect("the synthetic run settles");
        for text in [
            format!("Load even {settle_s:.0} s after edge-3 joined"),
            format!("None of {} requests failed", grouped(summary.requests)),
            format!("<strong>{}</strong>", grouped(summary.closes)),
            "<dd>1.40.0</dd>".to_owned(),
            "edge-3 joins".to_owned(),
            "not there yet".to_owned(),
            "±10 %".to_owned(),
        ] {
            assert!(html.contains(&text), "missing: {text}");
        }
    }

    #[test]
    fn text_from_outside_cannot_become_markup() {
        let mut run = synthetic::timeline(30);
        let nasty = "</script><script>alert(\"1\")&";
        run.title = nasty.to_owned();
        run.policy = nasty.to_owned();
        run.edges[0].name = nasty.to_owned();
        run.edges[0].address = nasty.to_owned();
        run.events[0].text = nasty.to_owned();
        run.envoy_version = nasty.to_owned();
        let html = page(&run, &synthetic::summary(&run)).expect("a page");
        assert!(!html.contains("<script>"));
        assert_eq!(html.matches("</script>").count(), 1);
    }

    #[test]
    fn a_run_without_samples_still_has_a_report() {
        let html = page(&Timeline::default(), &Summary::default()).expect("a page");
        assert!(html.contains("Load not yet even"));
        assert!(!html.contains("NaN"));
    }

    #[test]
    fn failures_are_named_and_marked() {
        let run = synthetic::timeline(30);
        let summary = Summary { failed_requests: 3, ..synthetic::summary(&run) };
        let html = page(&run, &summary).expect("a page");
        assert!(html.contains("3 of "));
        assert!(html.contains("<div class=\"tile bad\"><strong>3</strong>"));
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!(
            [rate(1_203.7), rate(402.2), rate(12.54), rate(f64::NAN)],
            ["1,204", "402", "12.5", "–"]
        );
        assert_eq!([percent(-1.0), percent(0.0123), percent(0.0)], ["−100 %", "+1.2 %", "±0.0 %"]);
    }
}
