//! Displays of a run: a view sees every event, in order, in the thread that prints.
//!
//! Each view shows one thing in one place: lines on stdout, a picture in a file, bars on the
//! terminal. Views do not know each other or the run's work. All print to a [`StandardStream`], which
//! protects the bars.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::args::Format;
use super::config::Config;
use super::event_json::object;
use super::screen::{StandardStream, say, send_file};
use crate::Counts;
use crate::observe::text::{Line, Style};
use crate::observe::{Event, EventKind};

/// A display of a run.
pub(super) trait View: Send {
    /// Returns `true` if it needs the events of single items, which cost time for every item.
    fn wants_items(&self) -> bool {
        true
    }

    /// Returns `true` if it needs to know when items were put.
    fn wants_puts(&self) -> bool {
        false
    }

    /// Shows an event.
    ///
    /// # Errors
    /// Stdout cannot be written. The view reports other failures by itself, once.
    fn see(&mut self, event: &Event) -> io::Result<()>;

    /// Shows, before all other events, those that an earlier run has kept in the journal and not
    /// shown. Some of them may have been shown all the same.
    ///
    /// # Errors
    /// As [`see`](Self::see).
    fn see_earlier(&mut self, _events: &[Event]) -> io::Result<()> {
        Ok(())
    }

    /// Returns the time between two [ticks](Self::tick), if the display changes with time.
    fn pause(&self) -> Option<Duration> {
        None
    }

    /// Shows the passing of time, with the present counts. It is called a last time before the end.
    ///
    /// # Errors
    /// As [`see`](Self::see).
    fn tick(&mut self, _counts: &Counts) -> io::Result<()> {
        Ok(())
    }

    /// Completes the display, because no event is waiting.
    ///
    /// # Errors
    /// As [`see`](Self::see).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Ends the display. Returns `true` if all its files are written.
    ///
    /// # Errors
    /// As [`see`](Self::see).
    fn end(&mut self) -> io::Result<bool> {
        self.flush().map(|()| true)
    }
}

/// Stdout, shared by the views, in whose order it prints. Each write stays in one piece. After one has failed
/// all others do: what it has lost must not count as printed because nothing is left to be flushed.
#[derive(Debug, Clone)]
pub(super) struct Out(Arc<Mutex<OutState>>);

#[derive(Debug)]
struct OutState {
    writer: BufWriter<StandardStream>,
    has_failed: bool,
}

impl Out {
    pub(super) fn new() -> Self {
        Out(Arc::new(Mutex::new(OutState {
            writer: BufWriter::new(StandardStream::Out),
            has_failed: false,
        })))
    }

    /// Copies the rest of a file, past the buffer.
    pub(super) fn send_file(&mut self, from: &mut io::Take<File>) -> io::Result<()> {
        self.unless_failed(|writer| {
            writer.flush()?;
            send_file(from)
        })
    }

    fn unless_failed<R>(
        &self,
        write: impl FnOnce(&mut BufWriter<StandardStream>) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut state = self.0.lock();
        if state.has_failed {
            return Err(io::Error::other("stdout has failed before"));
        }
        let written = write(&mut state.writer);
        let failed = written.as_ref().err();
        state.has_failed = failed.is_some_and(|why| why.kind() != io::ErrorKind::Interrupted);
        written
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_failed(|writer| writer.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_failed(Write::flush)
    }
}

/// Events as lines: the chapter's, or JSON.
pub(super) struct EventLines {
    out: Out,
    format: Format,
    style: Style,
    is_quiet: bool,
    has_summary: bool,
}

impl EventLines {
    pub(super) fn new(out: Out, style: Style, config: &Config) -> Self {
        EventLines {
            out,
            format: config.format,
            style,
            is_quiet: config.is_quiet,
            has_summary: config.has_summary,
        }
    }
}

impl EventLines {
    /// Prints the line in one piece.
    fn print(&mut self, mut line: String) -> io::Result<()> {
        line.push('\n');
        self.out.write_all(line.as_bytes())
    }
}

impl View for EventLines {
    fn wants_items(&self) -> bool {
        !self.is_quiet
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        let is_summary = matches!(event.kind, EventKind::Summary { .. });
        let is_put = matches!(event.kind, EventKind::Put { .. });
        let is_left_out = is_put || self.is_quiet && event.kind.is_of_item();
        if is_left_out || is_summary && !self.has_summary {
            return Ok(());
        }
        if self.format == Format::Json {
            let object = object(event, self.style.words.steps.as_ref());
            self.print(object.to_string())?;
            if !event.kind.is_of_run() {
                return Ok(());
            }
        }
        match self.style.line(event) {
            Some(Line::Out(line)) => self.print(line),
            Some(Line::Err(line)) => {
                // Both may go to the same place, so this keeps them in order.
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
