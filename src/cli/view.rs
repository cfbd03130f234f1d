//! What shows a run: a view sees every event, in order, in the thread that prints.
//!
//! A view of its own shows one thing in one place: lines on stdout, a picture in a file, bars on
//! the terminal. Views know neither each other nor what the run works on. What they print goes to
//! a [`Stream`], so that no line tears the bars.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::args::Format;
use super::config::Config;
use super::screen::{Stream, say};
use crate::observe::text::{Line, Style};
use crate::observe::{Event, EventKind, json};
use dishrack_core::ledger::Counts;

/// Something that shows a run.
pub(super) trait View: Send {
    /// Whether it needs the events of single items, which cost time for every item.
    fn wants_items(&self) -> bool {
        true
    }

    /// Something happened.
    ///
    /// # Errors
    /// Where stdout cannot be written. What else fails a view tells by itself, once.
    fn see(&mut self, event: &Event) -> io::Result<()>;

    /// What an earlier run has kept in the journal and not shown, before anything happens in this
    /// one. Some of it may have been shown all the same.
    ///
    /// # Errors
    /// As [`see`](Self::see).
    fn see_earlier(&mut self, _events: &[Event]) -> io::Result<()> {
        Ok(())
    }

    /// How often it is [ticked](Self::tick), if it shows what changes with time.
    fn pause(&self) -> Option<Duration> {
        None
    }

    /// Some time went by, whatever happened; and this is where the items are now. It comes once
    /// more right before the end.
    ///
    /// # Errors
    /// As [`see`](Self::see).
    fn tick(&mut self, _counts: &Counts) -> io::Result<()> {
        Ok(())
    }

    /// Nothing happens just now: what is shown should be complete.
    ///
    /// # Errors
    /// As [`see`](Self::see).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Nothing more happens. Whether all that was to be written to files is.
    ///
    /// # Errors
    /// As [`see`](Self::see).
    fn end(&mut self) -> io::Result<bool> {
        self.flush().map(|()| true)
    }
}

/// Stdout, for all views that write to it, so that it keeps the order in which they do. What is
/// written at once is not torn.
#[derive(Debug, Clone)]
pub(super) struct Out(Arc<Mutex<BufWriter<Stream>>>);

impl Out {
    pub(super) fn new() -> Self {
        Out(Arc::new(Mutex::new(BufWriter::new(Stream::Out))))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().flush()
    }
}

/// Events as lines: the chapter's, or JSON.
pub(super) struct Lines {
    out: Out,
    format: Format,
    style: Style,
    is_quiet: bool,
    has_summary: bool,
}

impl Lines {
    pub(super) fn new(out: Out, style: Style, config: &Config) -> Self {
        Lines {
            out,
            format: config.format,
            style,
            is_quiet: config.is_quiet,
            has_summary: config.has_summary,
        }
    }
}

impl Lines {
    /// In one piece.
    fn print(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        self.out.write_all(line.as_bytes())
    }
}

impl View for Lines {
    fn wants_items(&self) -> bool {
        !self.is_quiet
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        let is_summary = matches!(event.kind, EventKind::Summary { .. });
        if self.is_quiet && event.kind.is_of_item() || is_summary && !self.has_summary {
            return Ok(());
        }
        if self.format == Format::Json {
            let object = json::object(event, self.style.words.tells_items);
            self.print(object.to_string())?;
            if !event.kind.is_of_run() {
                return Ok(());
            }
        }
        match self.style.line(event) {
            Some(Line::Out(line)) => self.print(line),
            Some(Line::Err(line)) => {
                // So that both come in order where they go to the same place.
                self.out.flush()?;
                say(&line);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn see_earlier(&mut self, events: &[Event]) -> io::Result<()> {
        events.iter().try_for_each(|event| self.see(event))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
