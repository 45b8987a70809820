//! The run while it goes on: a screen where there is a terminal, lines where there is none.
//!
//! Both show the same samples that the report is drawn from. A view only looks: it never
//! changes the run, and the one thing that comes back from it is that the user wants to end.

mod lines;
mod load_chart;
mod screen;
mod terminal;

use std::io::{self, IsTerminal};

use anyhow::Result;

pub use self::lines::Lines;
pub use self::terminal::TerminalView;
use crate::report::{Summary, Timeline};

/// Something that shows a run.
pub trait View: Send {
    /// Shows the run so far; to be called after each new sample.
    ///
    /// # Errors
    ///
    /// The terminal or standard output cannot be written to.
    fn sample(&mut self, timeline: &Timeline) -> Result<()>;

    /// Shows at once what happened at `at_s`, in seconds since the start of the run.
    ///
    /// An event that the timeline has as well is shown once.
    fn event(&mut self, at_s: f64, text: &str);

    /// Gives the terminal back and prints the result.
    ///
    /// What cannot be printed is left out: the run is over, and its files hold the result.
    fn finish(&mut self, summary: &Summary);

    /// Whether the user asked to end the run (q or Ctrl-C). Does not block; to be called often,
    /// about ten times a second. Without a screen Ctrl-C is a signal, and not seen here.
    fn interrupted(&mut self) -> bool;
}

/// The view that fits: the screen if standard input and output are a terminal and `headless`
/// is not set, otherwise lines.
///
/// # Errors
///
/// The terminal cannot be switched to full screen.
pub fn choose(headless: bool) -> Result<Box<dyn View>> {
    // The keys come from standard input: without it nobody could end the run.
    if headless || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        Ok(Box::new(Lines::new(io::stdout())))
    } else {
        Ok(Box::new(TerminalView::start()?))
    }
}
