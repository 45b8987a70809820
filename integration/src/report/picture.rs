//! The first chart of a report as a picture that stands alone, for pages that show images and no HTML.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::charts::{markers, requests};
use super::html::STYLE;
use super::{Summary, Timeline};

/// What a page would have given it: an image has no page around it.
const ALONE: &str = "svg { background: var(--page); font-family: system-ui, \"Segoe UI\", Roboto, Arial, sans-serif; }";

/// Writes the request rates of a run to `path`, as SVG.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(path: &Path, run: &Timeline, summary: &Summary) -> Result<()> {
    fs::write(path, picture(run, summary))
        .with_context(|| format!("cannot write the picture {}", path.display()))
}

fn picture(run: &Timeline, summary: &Summary) -> String {
    let settled_s = summary.settle_s.map(|settle_s| run.changed_at().unwrap_or(0.0) + settle_s);
    let chart = requests(run, &markers(run, settled_s));
    // An image does not answer to the mouse.
    let (frame, columns) = chart.split_once("<g class=\"column\">").unwrap_or((&chart, ""));
    let end = columns.rsplit_once("</title></g>\n").map_or("", |(_, end)| end);
    let (tag, marks) = frame.split_once(">\n").unwrap_or((frame, ""));
    let tag = tag.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    format!("{tag}>\n<style>\n{STYLE}{ALONE}\n</style>\n{marks}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn it_is_one_whole_image_with_its_style_and_lines() {
        let run = synthetic::timeline(120);
        let picture = picture(&run, &synthetic::summary(&run));
        assert!(
            picture.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox="),
            "{picture}"
        );
        assert!(picture.ends_with("</svg>\n"), "{picture}");
        for (part, count) in
            [("<svg", 1), ("</svg>", 1), ("<style>", 1), ("column\"", 0), ("<title>", 0)]
        {
            assert_eq!(picture.matches(part).count(), count, "{part} in {picture}");
        }
        assert!(picture.contains("class=\"line s0\""), "{picture}");
    }
}
