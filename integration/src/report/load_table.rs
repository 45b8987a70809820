//! The table of a report: the load of every edge before, at and after the change.

use std::fmt::Write;

use super::charts::edge_class;
use super::html::{escape, percent, rate};
use super::{Summary, Timeline};

/// The table as HTML.
pub(super) fn table(run: &Timeline, summary: &Summary) -> String {
    let load = &summary.load;
    let columns = [&load.before, &load.at, &load.after];
    let highest = columns.into_iter().flatten().copied().fold(0.0, f64::max);
    let means: Vec<_> = match &load.means {
        Some(means) => means.iter().copied().map(Some).collect(),
        None => columns.into_iter().map(|column| mean(column)).collect(),
    };
    let mut html = String::from(
        "<table><thead><tr><th scope=\"col\">Edge</th><th scope=\"col\">Before</th>\
         <th scope=\"col\">At the change</th><th scope=\"col\">At the end</th></tr></thead><tbody>\n",
    );
    for (i, edge) in run.edges.iter().enumerate() {
        let (name, address, class) = (escape(&edge.name), escape(&edge.address), edge_class(i));
        let _ = write!(
            html,
            "<tr><th scope=\"row\" class=\"{class}\"><i class=\"dot\"></i>{name} <small>{address}</small></th>"
        );
        for (column, mean) in columns.into_iter().zip(&means) {
            html.push_str(&cell(column, i, (highest, *mean), run.tolerance, &class));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody><tfoot><tr><th scope=\"row\">Mean</th>");
    for mean in means {
        let text = mean.map_or("–".to_owned(), |mean| format!("{}/s", rate(mean)));
        let _ = write!(html, "<td><span class=\"value\">{text}</span></td>");
    }
    html.push_str("</tr></tfoot></table>\n");
    html
}

fn cell(
    column: &[f64],
    edge: usize,
    (highest, mean): (f64, Option<f64>),
    tolerance: f64,
    class: &str,
) -> String {
    let (Some(&value), Some(mean)) = (column.get(edge), mean) else {
        return "<td class=\"absent\">not there yet</td>".to_owned();
    };
    let width = if highest > 0.0 { value / highest * 100.0 } else { 0.0 };
    let deviation = if mean > 0.0 { value / mean - 1.0 } else { 0.0 };
    let judged = if deviation.abs() <= tolerance + 1e-9 { "even" } else { "uneven" };
    format!(
        "<td><span class=\"value\">{}/s</span> <span class=\"{judged}\">{}</span>\
         <div class=\"load {class}\"><div style=\"width:{width:.1}%\"></div></div></td>",
        rate(value),
        percent(deviation),
    )
}

fn mean(column: &[f64]) -> Option<f64> {
    (!column.is_empty()).then(|| column.iter().sum::<f64>() / column.len() as f64)
}
