//! The load of each edge over time, on a terminal: lines of Braille dots with their names and
//! newest values at their ends, the band that counts as even dotted behind them.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::{Canvas, Context, Line as Stroke, Points};

use super::screen::{edge_colour, quiet};
use crate::report::{EdgeSample, Timeline, nice_step, spread, time_step};

/// Columns for the numbers of the vertical axis, and the gap after them.
const LEFT: u16 = 7;
/// Columns for names and values at the ends of the lines.
const RIGHT: u16 = 18;
/// The time axis is at least so long, in seconds.
const SHORTEST_S: f64 = 30.0;
const BAND: Color = Color::Indexed(241);

/// Draws the chart. Where there is not enough room for one, it draws nothing.
pub(super) fn draw(frame: &mut Frame, area: Rect, run: &Timeline) {
    if area.width < LEFT + RIGHT + 10 || area.height < 4 {
        return;
    }
    let plot = Rect {
        x: area.x + LEFT,
        y: area.y,
        width: area.width - LEFT - RIGHT,
        height: area.height - 1,
    };
    let rates = run.samples.iter().flat_map(|sample| &sample.edges);
    let highest = rates.map(|edge| edge.requests_per_second).fold(1.0, f64::max);
    let step = nice_step(highest, (f64::from(plot.height) / 2.0).clamp(2.0, 5.0));
    let chart = LoadChart {
        run,
        plot,
        end_s: run.duration_s().max(SHORTEST_S),
        // Up to half a step above the highest, so that the labels of events stay clear.
        top: ((highest / step).ceil() + 0.5) * step,
        step,
    };
    chart.axes(frame);
    chart.lines(frame);
    chart.events(frame);
    chart.names(frame);
}

struct LoadChart<'a> {
    run: &'a Timeline,
    plot: Rect,
    end_s: f64,
    top: f64,
    step: f64,
}

// === impl LoadChart ===

impl LoadChart<'_> {
    /// The row of a value within the plot, from its top.
    fn row(&self, value: f64) -> f64 {
        (1.0 - value / self.top) * f64::from(self.plot.height - 1)
    }

    /// The column of a time.
    fn column(&self, at_s: f64) -> u16 {
        self.plot.x + cell(at_s / self.end_s * f64::from(self.plot.width - 1))
    }

    fn axes(&self, frame: &mut Frame) {
        let buffer = frame.buffer_mut();
        let width = usize::from(LEFT - 1);
        let mut tick = 0.0;
        while tick <= self.top {
            let y = self.plot.y + cell(self.row(tick));
            buffer.set_string(self.plot.x - LEFT, y, format!("{tick:>width$.0}"), quiet());
            tick += self.step;
        }
        let y = self.plot.bottom();
        let step_s = time_step(self.end_s, f64::from(self.plot.width) / 9.0);
        let mut at_s = 0.0;
        while at_s <= self.end_s {
            let text = format!("{at_s:.0} s");
            buffer.set_string(self.column(at_s), y, text, quiet());
            at_s += step_s;
        }
    }

    fn lines(&self, frame: &mut Frame) {
        let canvas = Canvas::default()
            .marker(Marker::Braille)
            .x_bounds([0.0, self.end_s])
            .y_bounds([0.0, self.top])
            .paint(|context| {
                self.band(context);
                for event in &self.run.events {
                    context.draw(&Stroke::new(event.at_s, 0.0, event.at_s, self.top, BAND));
                }
                for edge in 0..self.run.edges.len() {
                    context.layer();
                    self.line(context, edge);
                }
            });
        frame.render_widget(canvas, self.plot);
    }

    /// The two limits of what counts as even.
    fn band(&self, context: &mut Context) {
        let limits = self.run.samples.iter().filter_map(|sample| {
            let mean = sample.mean_requests_per_second()?;
            let width = mean * self.run.tolerance;
            Some([(sample.at_s, mean - width), (sample.at_s, mean + width)])
        });
        let coords: Vec<_> = limits.flatten().collect();
        context.draw(&Points::new(&coords, BAND));
    }

    fn line(&self, context: &mut Context, edge: usize) {
        for pair in self.run.samples.windows(2) {
            let up = |i: usize| pair[i].edges.get(edge).filter(|edge| edge.up);
            if let (Some(from), Some(to)) = (up(0), up(1)) {
                context.draw(&Stroke::new(
                    pair[0].at_s,
                    from.requests_per_second,
                    pair[1].at_s,
                    to.requests_per_second,
                    edge_colour(edge),
                ));
            }
        }
    }

    /// The events above the lines, the newest first where there is no room for all.
    fn events(&self, frame: &mut Frame) {
        let mut free_until = self.plot.right();
        for event in self.run.events.iter().rev() {
            let width = u16::try_from(Span::raw(&event.text).width()).unwrap_or(u16::MAX);
            let line_x = self.column(event.at_s);
            // To the right of its line, or to its left at the end of the run.
            let right = line_x + 1;
            let x = if right.saturating_add(width) <= free_until {
                right
            } else if free_until == self.plot.right() && self.plot.x + width <= line_x {
                line_x - width
            } else {
                continue;
            };
            let style = Style::new().add_modifier(Modifier::BOLD);
            frame.buffer_mut().set_string(x, self.plot.y, &event.text, style);
            free_until = x.min(line_x).saturating_sub(1);
        }
    }

    /// The names and newest values at the ends of the lines, never on top of each other.
    fn names(&self, frame: &mut Frame) {
        let Some(sample) = self.run.samples.last() else {
            return;
        };
        let edges = self.run.edges.iter().zip(&sample.edges).enumerate();
        let up: Vec<(usize, &str, &EdgeSample)> = edges
            .filter(|(_, (_, edge))| edge.up)
            .map(|(i, (name, edge))| (i, name.name.as_str(), edge))
            .take(usize::from(self.plot.height))
            .collect();
        let wanted: Vec<f64> =
            up.iter().map(|(_, _, edge)| self.row(edge.requests_per_second)).collect();
        let rows = spread(&wanted, 1.0, 0.0, f64::from(self.plot.height - 1));
        for ((i, name, edge), row) in up.into_iter().zip(rows) {
            let rate = format!(" {:.0}/s", edge.requests_per_second);
            let room = usize::from(RIGHT - 1).saturating_sub(rate.len());
            let name: String = name.chars().take(room).collect();
            let colour = Style::new().fg(edge_colour(i));
            let label = Line::from(vec![
                Span::styled(name, colour),
                Span::styled(rate, colour.add_modifier(Modifier::BOLD)),
            ]);
            let y = self.plot.y + cell(row);
            frame.buffer_mut().set_line(self.plot.right() + 1, y, &label, RIGHT - 1);
        }
    }
}

/// The nearest cell to a place.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Places lie within a terminal.
fn cell(place: f64) -> u16 {
    place.max(0.0).round() as u16
}
