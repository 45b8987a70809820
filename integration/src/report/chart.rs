//! One chart over time as SVG: the frame, and the marks that are laid into it.
//!
//! Marks carry classes and no colours; `report.css` gives those, for light and dark. Lines are
//! named at their end, where the eye arrives, and not in a legend far away. Every sample has an
//! invisible column that shows its numbers under the mouse.

use std::fmt::{self, Write};

use super::html::escape;
use super::scale::{Scale, nice_step, spread, ticks, time_step};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 824.0;
const PLOT_HEIGHT: f64 = 230.0;
/// The room for the title of the vertical axis.
const TITLE_HEIGHT: f64 = 20.0;
/// The room for one row of event labels.
const ROW_HEIGHT: f64 = 18.0;
/// The room for the numbers and the title of the horizontal axis.
const FOOT_HEIGHT: f64 = 42.0;
/// The least distance of two labels at the ends of lines.
const LABEL_GAP: f64 = 17.0;
/// A generous mean width of one character of a label.
const CHARACTER_WIDTH: f64 = 6.7;

/// What a chart shows, before anything is drawn.
pub(super) struct Axes<'a> {
    /// For readers who cannot see it: what the chart is about.
    pub label: &'a str,
    /// The title of the vertical axis, which is its unit: `requests per second`.
    pub unit: &'a str,
    /// The highest value to be shown.
    pub highest: f64,
    /// The title of the horizontal axis: `seconds since the start`.
    pub time: &'a str,
    /// Its end, in seconds.
    pub end_s: f64,
    /// Vertical lines with their labels, in order of time.
    pub markers: &'a [Marker],
}

/// A vertical line at a moment.
pub(super) struct Marker {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// Its label.
    pub text: String,
    /// Whether it marks what the run was to achieve.
    pub goal: bool,
}

/// A name and a value at the end of a line.
pub(super) struct EndLabel {
    /// The class that gives the colour.
    pub class: String,
    /// The last value of the line, on the vertical axis.
    pub value: f64,
    /// What it is, set in bold.
    pub name: String,
    /// The value, as text with its unit.
    pub text: String,
}

/// A chart under construction.
pub(super) struct Chart {
    x: Scale,
    y: Scale,
    height: f64,
    svg: String,
}

impl Chart {
    /// Draws the frame: grid, axes with their titles, and markers.
    pub fn new(axes: &Axes) -> Self {
        let end_s = axes.end_s.max(1.0);
        let step = nice_step(axes.highest.max(1.0), 4.5);
        let top_value = (axes.highest.max(1.0) / step - 1e-9).ceil() * step;
        let x = Scale { values: (0.0, end_s), places: (LEFT, RIGHT) };
        let (rows, row_count) = rows(axes.markers, x);
        let top = TITLE_HEIGHT + ROW_HEIGHT * row_count as f64 + 4.0;
        let mut chart = Self {
            x,
            y: Scale { values: (0.0, top_value), places: (top + PLOT_HEIGHT, top) },
            height: top + PLOT_HEIGHT + FOOT_HEIGHT,
            svg: String::new(),
        };
        let (height, label) = (chart.height, escape(axes.label));
        chart.put(format_args!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">\n"
        ));
        chart.grid(axes, step, top_value, end_s);
        for (marker, row) in axes.markers.iter().zip(rows) {
            chart.marker(marker, row);
        }
        chart
    }

    fn grid(&mut self, axes: &Axes, step: f64, top_value: f64, end_s: f64) {
        let (title, time, label_x) = (escape(axes.unit), escape(axes.time), LEFT - 8.0);
        self.put(format_args!("<text class=\"axis\" x=\"0\" y=\"12\">{title}</text>\n"));
        for tick in ticks(top_value, step) {
            let y = self.y.at(tick);
            let class = if tick == 0.0 { "base" } else { "grid" };
            let (text_y, text) = (y + 4.0, tick_text(tick, step));
            self.put(format_args!(
                "<path class=\"{class}\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>\
                 <text class=\"tick\" x=\"{label_x}\" y=\"{text_y:.1}\" text-anchor=\"end\">{text}</text>\n"
            ));
        }
        let bottom = self.y.places.0;
        let (tick_end, number_y, title_y) = (bottom + 5.0, bottom + 19.0, bottom + 37.0);
        for tick in ticks(end_s, time_step(end_s, 10.0)) {
            let x = self.x.at(tick);
            self.put(format_args!(
                "<path class=\"base\" d=\"M{x:.1} {bottom:.1}V{tick_end:.1}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{number_y:.1}\" text-anchor=\"middle\">{tick}</text>\n"
            ));
        }
        self.put(format_args!(
            "<text class=\"axis\" x=\"{RIGHT}\" y=\"{title_y:.1}\" text-anchor=\"end\">{time}</text>\n"
        ));
    }

    fn marker(&mut self, marker: &Marker, row: usize) {
        let x = self.x.at(marker.at_s);
        let bottom = self.y.places.0;
        let base_y = TITLE_HEIGHT + ROW_HEIGHT * (row as f64 + 1.0) - 5.0;
        let from_y = base_y - 10.0;
        let class = if marker.goal { "marker goal" } else { "marker" };
        let leftwards = points_left(marker, x);
        let (text_x, anchor) = if leftwards { (x - 5.0, "end") } else { (x + 5.0, "start") };
        let text = escape(&marker.text);
        self.put(format_args!(
            "<g class=\"{class}\"><path d=\"M{x:.1} {from_y:.1}V{bottom:.1}\"/>\
             <text x=\"{text_x:.1}\" y=\"{base_y:.1}\" text-anchor=\"{anchor}\">{text}</text></g>\n"
        ));
    }

    /// A line through points of (seconds, value); it is broken where the value is `None`.
    pub fn line(&mut self, class: &str, points: impl Iterator<Item = (f64, Option<f64>)>) {
        let mut path = String::new();
        let mut drawing = false;
        for (at_s, value) in points {
            if let Some(value) = value {
                let (x, y) = (self.x.at(at_s), self.y.at(value));
                // The `h0` makes a point that stands alone visible, through its round cap.
                let _ = if drawing {
                    write!(path, "L{x:.1} {y:.1}")
                } else {
                    write!(path, "M{x:.1} {y:.1}h0")
                };
            }
            drawing = value.is_some();
        }
        self.put(format_args!("<path class=\"line {class}\" d=\"{path}\"/>\n"));
    }

    /// An area between two values, through points of (seconds, (low, high)).
    pub fn band(&mut self, class: &str, points: &[(f64, (f64, f64))]) {
        let mut path = String::new();
        let there = points.iter().map(|&(at_s, (_, high))| (at_s, high));
        let back = points.iter().rev().map(|&(at_s, (low, _))| (at_s, low));
        for (at_s, value) in there.chain(back) {
            let letter = if path.is_empty() { 'M' } else { 'L' };
            let (x, y) = (self.x.at(at_s), self.y.at(value));
            let _ = write!(path, "{letter}{x:.1} {y:.1}");
        }
        if !path.is_empty() {
            self.put(format_args!("<path class=\"{class}\" d=\"{path}Z\"/>\n"));
        }
    }

    /// A bar from `from_s` to `to_s`, up to `value`.
    pub fn bar(&mut self, class: &str, (from_s, to_s): (f64, f64), value: f64) {
        let (left, right) = (self.x.at(from_s), self.x.at(to_s));
        let gap = ((right - left) * 0.2).min(1.5);
        let (width, x) = ((right - left - gap).max(0.4), left + gap / 2.0);
        let y = self.y.at(value);
        let height = (self.y.places.0 - y).max(0.0);
        self.put(format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>\n"
        ));
    }

    /// Names at the ends of lines, moved apart where they would touch.
    pub fn end_labels(&mut self, labels: &[EndLabel]) {
        let wanted: Vec<f64> = labels.iter().map(|label| self.y.at(label.value)).collect();
        let (bottom, top) = self.y.places;
        let places = spread(&wanted, LABEL_GAP, top, bottom);
        let (from_x, to_x, text_x) = (RIGHT + 3.0, RIGHT + 14.0, RIGHT + 18.0);
        for ((label, line_y), y) in labels.iter().zip(wanted).zip(places) {
            let (class, text_y) = (&label.class, y + 4.5);
            let (name, text) = (escape(&label.name), escape(&label.text));
            self.put(format_args!(
                "<g class=\"end {class}\"><path d=\"M{from_x} {line_y:.1}L{to_x} {y:.1}\"/>\
                 <text x=\"{text_x}\" y=\"{text_y:.1}\"><tspan class=\"name\">{name}</tspan> {text}</text></g>\n"
            ));
        }
    }

    /// The columns that answer to the mouse: (from, to, what to show at `to`).
    pub fn columns(&mut self, columns: impl Iterator<Item = (f64, f64, String)>) {
        let (bottom, top) = self.y.places;
        let height = bottom - top;
        for (from_s, to_s, text) in columns {
            // Centred on the sample, so that the nearest one answers.
            let (to, half) = (self.x.at(to_s), (self.x.at(to_s) - self.x.at(from_s)) / 2.0);
            let (x, width) = (to - half, half * 2.0);
            let text = escape(&text);
            self.put(format_args!(
                "<g class=\"column\"><rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.2}\" height=\"{height:.1}\"/>\
                 <path d=\"M{to:.1} {top:.1}V{bottom:.1}\"/><title>{text}</title></g>\n"
            ));
        }
    }

    /// The finished `<svg>` element.
    pub fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }

    fn put(&mut self, what: fmt::Arguments) {
        // Writing to a `String` cannot fail.
        let _ = self.svg.write_fmt(what);
    }
}

/// The row of each marker's label, so that no two overlap, and how many rows there are.
fn rows(markers: &[Marker], x: Scale) -> (Vec<usize>, usize) {
    let mut taken: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut rows = Vec::with_capacity(markers.len());
    for marker in markers {
        let at = x.at(marker.at_s);
        let width = text_width(&marker.text) + 14.0;
        let (from, to) =
            if points_left(marker, at) { (at - width, at + 2.0) } else { (at - 2.0, at + width) };
        let free = |row: &Vec<(f64, f64)>| row.iter().all(|&(a, b)| to < a || from > b);
        let row = taken.iter().position(free).unwrap_or(taken.len());
        if row == taken.len() {
            taken.push(Vec::new());
        }
        taken[row].push((from, to));
        rows.push(row);
    }
    (rows, taken.len())
}

/// Whether a marker's label stands to the left of its line, for want of room to the right.
fn points_left(marker: &Marker, x: f64) -> bool {
    x + text_width(&marker.text) + 5.0 > WIDTH
}

fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER_WIDTH
}

fn tick_text(tick: f64, step: f64) -> String {
    if step < 1.0 {
        format!("{tick:.1}")
    } else if tick >= 10_000.0 {
        format!("{}k", tick / 1_000.0)
    } else {
        format!("{tick:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(at_s: f64, text: &str) -> Marker {
        Marker { at_s, text: text.to_owned(), goal: false }
    }

    fn chart(markers: &[Marker]) -> Chart {
        Chart::new(&Axes {
            label: "a <chart>",
            unit: "requests per second",
            highest: 610.0,
            time: "seconds since the start",
            end_s: 120.0,
            markers,
        })
    }

    #[test]
    fn markers_whose_labels_would_touch_get_rows_of_their_own() {
        let x = Scale { values: (0.0, 120.0), places: (LEFT, RIGHT) };
        let near = [marker(20.0, "edge-3 joins"), marker(22.0, "edge-1 leaves")];
        assert_eq!(rows(&near, x), (vec![0, 1], 2));
        let far = [marker(20.0, "edge-3 joins"), marker(80.0, "edge-1 leaves")];
        assert_eq!(rows(&far, x), (vec![0, 0], 1));
    }

    #[test]
    fn a_line_is_broken_where_there_is_no_value() {
        let mut chart = chart(&[]);
        let values = [Some(1.0), Some(2.0), None, Some(3.0)];
        chart.line("s0", values.into_iter().enumerate().map(|(i, v)| (i as f64, v)));
        let svg = chart.finish();
        let line = svg.lines().find(|line| line.contains("line s0")).expect("the line");
        assert_eq!(line.matches('M').count(), 2, "{line}");
        assert_eq!(line.matches('L').count(), 1, "{line}");
    }

    #[test]
    fn text_is_escaped() {
        let svg = chart(&[marker(3.0, "<b> & co")]).finish();
        assert!(svg.contains("a &lt;chart&gt;"));
        assert!(svg.contains("&lt;b&gt; &amp; co"));
        assert!(!svg.contains("<b>"));
    }
}
