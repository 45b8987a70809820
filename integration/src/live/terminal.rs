//! The screen's hold on the terminal: taken at the start, given back in every case.
//!
//! Raw mode and the alternate screen must not outlive the run: `finish` and `Drop` leave them,
//! and the panic hook of `ratatui::try_init` does so before a panic is printed.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;

use super::View;
use super::lines::result;
use super::screen::Screen;
use crate::report::{Summary, Timeline};

/// A view that fills the terminal.
pub struct TerminalView {
    /// `None` once the terminal has been given back.
    terminal: Option<DefaultTerminal>,
    screen: Screen,
}

// === impl TerminalView ===

impl TerminalView {
    /// Takes the terminal.
    ///
    /// # Errors
    ///
    /// The terminal cannot be switched to raw mode and to its alternate screen.
    pub fn start() -> Result<Self> {
        let terminal = ratatui::try_init().context("cannot set up the terminal; try --headless")?;
        let mut view = Self { terminal: Some(terminal), screen: Screen::default() };
        view.draw()?;
        Ok(view)
    }

    fn draw(&mut self) -> Result<()> {
        if let Some(terminal) = &mut self.terminal {
            terminal
                .draw(|frame| self.screen.draw(frame))
                .context("cannot draw on the terminal")?;
        }
        Ok(())
    }

    fn give_back(&mut self) {
        if self.terminal.take().is_some() {
            ratatui::restore();
        }
    }
}

impl View for TerminalView {
    fn sample(&mut self, timeline: &Timeline) -> Result<()> {
        self.screen.sample(timeline);
        self.draw()
    }

    fn event(&mut self, at_s: f64, text: &str) {
        self.screen.event(at_s, text);
        // What is wrong with the terminal is reported by the next sample.
        let _ = self.draw();
    }

    fn finish(&mut self, summary: &Summary) {
        self.give_back();
        let text = result(&self.screen.timeline().edges, summary);
        let _ = io::stdout().write_all(text.as_bytes());
    }

    fn interrupted(&mut self) -> bool {
        if self.terminal.is_none() {
            return false;
        }
        let mut resized = false;
        let mut interrupted = false;
        while let Ok(true) = event::poll(Duration::ZERO) {
            match event::read() {
                Ok(Input::Key(key)) => interrupted |= ends(key),
                Ok(Input::Resize(..)) => resized = true,
                Ok(_) => {}
                // A terminal that went away asks for nothing any more, and would be polled for ever.
                Err(_) => return true,
            }
        }
        if resized {
            let _ = self.draw();
        }
        interrupted
    }
}

impl Drop for TerminalView {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Whether a key asks to end the run.
fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release
        && match key.code {
            KeyCode::Char('q' | 'Q') => !control,
            KeyCode::Char('c') => control,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_q_and_ctrl_c_end_the_run() {
        let (plain, control) = (KeyModifiers::NONE, KeyModifiers::CONTROL);
        assert!(ends(KeyEvent::new(KeyCode::Char('q'), plain)));
        assert!(ends(KeyEvent::new(KeyCode::Char('c'), control)));
        assert!(!ends(KeyEvent::new(KeyCode::Char('c'), plain)));
        assert!(!ends(KeyEvent::new(KeyCode::Esc, plain)));
    }
}
