//! The terminal while `supervisor top` draws on it: taken over, and given back as it was, whatever ends
//! the program, but for SIGKILL.

use std::io::{self, IsTerminal, Stdout};
use std::panic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::draw::draw;
use super::model::TopModel;
use crate::sys::threads::in_words;

/// True while the terminal is taken over.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The panic for which it was given back.
static LOST: OnceLock<String> = OnceLock::new();

/// A terminal that is taken over, until it is dropped.
pub(super) struct TopScreen(Terminal<CrosstermBackend<Stdout>>);

impl TopScreen {
    /// Returns `true` if there is a terminal to draw on and to read keys from.
    pub(super) fn is_possible() -> bool {
        io::stdout().is_terminal() && io::stdin().is_terminal()
    }

    pub(super) fn open() -> io::Result<Self> {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            give_back();
            // The first one counts.
            let _ = LOST.set(in_words(panic.payload()));
            tell(panic);
        }));
        take()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()));
        terminal.map(TopScreen).inspect_err(|_| give_back())
    }

    /// Returns why it was given back, if that was for a panic in another thread.
    pub(super) fn lost(&self) -> Option<&str> {
        LOST.get().map(String::as_str)
    }

    pub(super) fn draw(&mut self, model: &TopModel) -> io::Result<()> {
        self.0.draw(|frame| draw(model, frame)).map(drop)
    }

    /// Gives the terminal back while something else uses it.
    pub(super) fn leave_while(&mut self, act: impl FnOnce()) -> io::Result<()> {
        give_back();
        act();
        take()?;
        // All is drawn anew. Clearing would ask where the cursor is, and the answer is read with keys.
        self.0 = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }
}

impl Drop for TopScreen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    IS_TAKEN.store(true, Ordering::Release);
    execute!(io::stdout(), EnterAlternateScreen, Hide).inspect_err(|_| give_back())
}

/// Gives the terminal back, once. The program may be ending, so a failure is ignored.
fn give_back() {
    if IS_TAKEN.swap(false, Ordering::AcqRel) {
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
