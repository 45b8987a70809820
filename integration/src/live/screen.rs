//! What the screen shows, drawn into a frame and nothing else: it can be tested without a terminal.
//!
//! Top to bottom: what runs and for how long, the load of each edge over time, connections and
//! closes side by side, the last events. At 80x24 all of it fits; more room goes to the chart.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::load_chart;
use crate::report::{Event, Sample, Timeline, grouped};

/// From the 256 fixed colours, near those of the report: readable on dark and on light, and
/// none of them red, which is kept for failures.
const EDGE_COLOURS: [u8; 6] = [33, 208, 36, 170, 142, 75];
const GOOD: Color = Color::Indexed(36);
const BAD: Color = Color::Red;
/// Rows for edges and for closes, besides their titles.
const PANEL_ROWS: (u16, u16) = (4, 8);

/// The style of what only frames the numbers.
pub(super) fn quiet() -> Style {
    Style::new().fg(Color::Indexed(245))
}

/// The colour of an edge, by its index.
pub(super) fn edge_colour(edge: usize) -> Color {
    Color::Indexed(EDGE_COLOURS[edge % EDGE_COLOURS.len()])
}

/// What is known of the run so far.
#[derive(Default)]
pub(super) struct Screen {
    run: Timeline,
}

// === impl Screen ===

impl Screen {
    /// Takes the run so far; events that were shown before it had them stay.
    pub fn sample(&mut self, run: &Timeline) {
        let before = std::mem::replace(&mut self.run, run.clone());
        for event in before.events {
            self.event(event.at_s, &event.text);
        }
    }

    /// Takes an event.
    pub fn event(&mut self, at_s: f64, text: &str) {
        let event = Event { at_s, text: text.to_owned() };
        if !self.run.events.contains(&event) {
            self.run.events.push(event);
            self.run.events.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        }
    }

    /// The run so far.
    pub fn timeline(&self) -> &Timeline {
        &self.run
    }

    /// Draws everything.
    pub fn draw(&self, frame: &mut Frame) {
        let (least, most) = PANEL_ROWS;
        let panel_rows = u16::try_from(self.run.edges.len()).unwrap_or(most).clamp(least, most);
        let event_rows = if frame.area().height >= 32 { 5 } else { 2 };
        let [head, _, chart, _, panels, _, events, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(u16::from(frame.area().height >= 32)),
            Constraint::Min(6),
            Constraint::Length(1),
            Constraint::Length(panel_rows + 1),
            Constraint::Length(u16::from(frame.area().height >= 32)),
            Constraint::Length(event_rows + 1),
            Constraint::Length(1),
        ])
        .horizontal_margin(1)
        .areas(frame.area());
        let [left, right] =
            Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(3).areas(panels);

        self.head(frame, head);
        self.load(frame, chart);
        self.connections(frame, left);
        self.closes(frame, right);
        self.events(frame, events);
        frame.render_widget(Paragraph::new("q or Ctrl-C ends").style(quiet()), foot);
    }

    fn head(&self, frame: &mut Frame, area: Rect) {
        let mut spans = vec![self.run.title.as_str().bold()];
        if !self.run.envoy_version.is_empty() {
            spans.push(Span::raw(format!("   Envoy {}", self.run.envoy_version)));
        }
        if !self.run.policy.is_empty() {
            spans.push(Span::styled(format!("   {}", self.run.policy), quiet()));
        }
        let elapsed = format!("{:.0} s", self.run.duration_s()).bold();
        sides(frame, area, Line::from(spans), elapsed.into());
    }

    fn load(&self, frame: &mut Frame, area: Rect) {
        let [title, chart] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
        let state = self.last().map_or_else(Line::default, |sample| self.evenness(sample));
        sides(frame, title, heading("requests per second"), state);
        load_chart::draw(frame, chart, &self.run);
    }

    /// How far the load is from even, in words.
    fn evenness(&self, sample: &Sample) -> Line<'static> {
        let tolerance = self.run.tolerance * 100.0;
        if sample.is_even(self.run.tolerance) {
            let text = format!("even: every edge within {tolerance:.0} % of the mean");
            return Line::styled(text, Style::new().fg(GOOD));
        }
        let Some((edge, deviation)) = sample.farthest_from_mean() else {
            return Line::styled("no requests yet", quiet());
        };
        let name = self.run.edges.get(edge).map_or("an edge", |edge| edge.name.as_str());
        let side = if deviation < 0.0 { "under" } else { "over" };
        let percent = deviation.abs() * 100.0;
        Line::from(vec![
            Span::raw("uneven: "),
            Span::styled(name.to_owned(), Style::new().fg(edge_colour(edge))),
            Span::raw(format!(" is {percent:.0} % {side} the mean")),
        ])
    }

    fn connections(&self, frame: &mut Frame, area: Rect) {
        let mut lines = vec![heading("connections")];
        let rows = usize::from(area.height.saturating_sub(1));
        let edges = self.run.edges.len();
        let shown = if edges > rows { rows.saturating_sub(1) } else { edges };
        let widest = self.run.edges.iter().map(|edge| edge.name.chars().count());
        let name_width = widest.max().unwrap_or(0).min(14);
        let bar_width = usize::from(area.width).saturating_sub(name_width + 8);
        let samples = self.run.samples.iter().flat_map(|sample| &sample.edges);
        let most = samples.map(|edge| edge.connections).max().unwrap_or(0).max(1);

        for (i, edge) in self.run.edges.iter().enumerate().take(shown) {
            let style = Style::new().fg(edge_colour(i));
            let now = self.last().and_then(|sample| sample.edges.get(i)).filter(|edge| edge.up);
            let name: String = edge.name.chars().take(name_width).collect();
            let mut spans = vec![Span::styled(format!("{name:<name_width$} "), style)];
            match now {
                Some(edge) => {
                    let part = edge.connections as f64 / most as f64;
                    let bar = bar(part, bar_width);
                    spans.push(Span::styled(format!("{bar:<bar_width$}"), style));
                    spans.push(format!(" {:>6}", grouped(edge.connections)).bold());
                }
                None => spans.push(Span::styled("down", quiet())),
            }
            lines.push(Line::from(spans));
        }
        if shown < edges {
            lines.push(Line::styled(format!("and {} more", edges - shown), quiet()));
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn closes(&self, frame: &mut Frame, area: Rect) {
        let [title, numbers, spark, requests] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Fill(1),
            Constraint::Length(1),
        ])
        .areas(area);
        let none = Sample::default();
        let sample = self.last().unwrap_or(&none);
        let total: u64 = sample.edges.iter().map(|edge| edge.closes).sum();

        frame.render_widget(heading("closes"), title);
        let now = Line::from(vec![
            format!("{:.1}/s", sample.closes_per_second).bold(),
            Span::styled(format!("   wanted {:.1}/s", sample.closes_wanted_per_second), quiet()),
        ]);
        sides(frame, numbers, now, labelled("total", total, Style::new()));
        frame.render_widget(self.sparkline(spark.width), spark);
        let failed = if sample.failed_requests > 0 {
            Style::new().fg(BAD).add_modifier(Modifier::REVERSED)
        } else {
            Style::new().fg(GOOD)
        };
        let requested = labelled("requests", sample.requests, Style::new());
        sides(frame, requests, requested, labelled("failed", sample.failed_requests, failed));
    }

    /// The closes of the last seconds, the newest to the right.
    fn sparkline(&self, width: u16) -> Sparkline<'static> {
        let newest = self.run.samples.iter().rev().take(usize::from(width));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Tenths of small rates.
        let tenths = newest.map(|sample| (sample.closes_per_second.max(0.0) * 10.0) as u64);
        let mut bars: Vec<u64> = tenths.collect();
        bars.resize(usize::from(width), 0);
        bars.reverse();
        let highest = bars.iter().copied().max().unwrap_or(0).max(10);
        Sparkline::default().data(bars).max(highest).style(quiet())
    }

    fn events(&self, frame: &mut Frame, area: Rect) {
        let rows = usize::from(area.height.saturating_sub(1));
        let first = self.run.events.len().saturating_sub(rows);
        let lines = self.run.events[first..].iter().map(|event| {
            let at = Span::styled(format!("{:>6.1} s  ", event.at_s), quiet());
            Line::from(vec![at, Span::raw(event.text.clone())])
        });
        let lines: Vec<_> = std::iter::once(heading("events")).chain(lines).collect();
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn last(&self) -> Option<&Sample> {
        self.run.samples.last()
    }
}

/// One line to the left and one to the right; where both do not fit, the right one stays whole.
fn sides(frame: &mut Frame, area: Rect, left: Line, right: Line) {
    let width = u16::try_from(right.width()).unwrap_or(area.width);
    let [left_area, right_area] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(width)]).spacing(1).areas(area);
    frame.render_widget(left, left_area);
    frame.render_widget(right, right_area);
}

fn heading(text: &str) -> Line<'_> {
    // A span: as the style of the line it would underline all the room to the right as well.
    Line::from(Span::styled(text, quiet().add_modifier(Modifier::UNDERLINED)))
}

/// A count behind its name.
fn labelled(name: &'static str, count: u64, style: Style) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("{name} "), quiet()),
        Span::styled(grouped(count), style.add_modifier(Modifier::BOLD)),
    ])
}

/// A horizontal bar of a part (0 to 1) of `width` cells, drawn to an eighth of a cell.
fn bar(part: f64, width: usize) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 0 and 8 x width.
    let eighths = (part.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    bar.push_str(rest[eighths % 8]);
    bar
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::{Buffer, Cell};

    use super::*;
    use crate::report::synthetic;

    fn drawn(run: &Timeline, (width, height): (u16, u16)) -> Buffer {
        let mut screen = Screen::default();
        for event in &run.events {
            screen.event(event.at_s, &event.text);
        }
        screen.sample(run);
        let backend = TestBackend::new(width, height);
        let mut terminal = Terminal::new(backend).expect("a test terminal");
        terminal.draw(|frame| screen.draw(frame)).expect("drawn");
        terminal.backend().buffer().clone()
    }

    fn text(buffer: &Buffer) -> String {
        let rows = buffer.content.chunks(usize::from(buffer.area.width));
        let rows = rows.map(|row| row.iter().map(Cell::symbol).collect::<String>());
        rows.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_essential_numbers_fit_on_80_by_24() {
        let run = synthetic::timeline(60);
        let last = run.samples.last().expect("samples");
        let text = text(&drawn(&run, (80, 24)));
        let mut wanted = vec![
            "Spillway demo".to_owned(),
            "Envoy 1.40.0".to_owned(),
            "60 s".to_owned(),
            format!("{:.1}/s", last.closes_per_second),
            format!("wanted {:.1}/s", last.closes_wanted_per_second),
            format!("requests {}", grouped(last.requests)),
            "failed 0".to_owned(),
            "20.0 s  edge-3 joins".to_owned(),
            "q or Ctrl-C ends".to_owned(),
        ];
        for (name, edge) in run.edges.iter().zip(&last.edges) {
            wanted.push(format!("{} {:.0}/s", name.name, edge.requests_per_second));
            wanted.push(format!("{} █", name.name));
            wanted.push(format!(" {}", edge.connections));
        }
        for wanted in wanted {
            assert!(text.contains(&wanted), "missing {wanted:?} in\n{text}");
        }
        assert_eq!(text.matches("edge-3 joins").count(), 2, "in the chart and below\n{text}");
    }

    #[test]
    fn it_says_which_edge_is_farthest_from_even() {
        let joining = text(&drawn(&synthetic::timeline(25), (80, 24)));
        assert!(joining.contains("uneven: edge-3 is "), "{joining}");
        let settled = text(&drawn(&synthetic::timeline(120), (80, 24)));
        assert!(settled.contains("even: every edge within 10 % of the mean"), "{settled}");
        let before = text(&drawn(&synthetic::timeline(10), (80, 24)));
        assert!(before.contains("edge-3 down"), "{before}");
    }

    #[test]
    fn a_failed_request_turns_red() {
        let red = |failed_requests| {
            let mut run = synthetic::timeline(30);
            run.samples[29].failed_requests = failed_requests;
            drawn(&run, (80, 24)).content.iter().any(|cell| cell.fg == BAD)
        };
        assert!(!red(0));
        assert!(red(1));
    }

    #[test]
    fn it_draws_at_any_size_with_any_number_of_edges() {
        let mut many = synthetic::timeline(40);
        for i in 3..20 {
            many.edges.push(crate::report::EdgeName {
                name: format!("edge-with-a-long-name-{i}"),
                address: String::new(),
            });
        }
        for run in [Timeline::default(), synthetic::timeline(1), many] {
            for size in [(1, 1), (10, 5), (30, 12), (80, 24), (140, 40), (300, 100)] {
                drawn(&run, size);
            }
        }
    }
}
