//! `--joblog`: a line for each attempt, in the columns of GNU parallel.
//!
//! Send is always 0, as nothing is sent anywhere; Receive is what the command wrote to stdout. A
//! command that was killed with its worker has the worker's signal; one that never ended by itself
//! and was not killed has -1.
//!
//! With a journal it goes on where an earlier run stopped. What that run has kept and perhaps not
//! written is written unless it is there: an attempt is known by its number and its times.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::ended::Ended;
use crate::cli::unwritten::Unwritten;
use crate::cli::view::View;
use crate::cli::{output, screen};
use crate::jobs::spool::{Spool, Stream};
use crate::jobs::template::Values;
use crate::jobs::{self, Setup};
use crate::observe::Event;
use dishrack_core::ledger::Exit;

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// The file: to be written anew, or, with a journal, to go on where an earlier run stopped. Nothing is
/// changed in it yet.
///
/// # Errors
/// It cannot be written; in words.
pub(super) fn open(
    path: &Path,
    is_resumable: bool,
    taken: &mut Vec<PathBuf>,
) -> Result<Place, String> {
    let mut how = OpenOptions::new();
    how.create(true).read(is_resumable).append(true);
    let file = output::open("--joblog", path, taken, &mut how)?;
    output::check_ours("--joblog", (path, &file), HEADER, "a job log")?;
    output::lock("--joblog", (path, &file))?;
    taken.push(path.to_owned());
    Ok(Place {
        path: path.to_owned(),
        file,
        is_resumable,
    })
}

/// Where it is written.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: File,
    is_resumable: bool,
}

impl Place {
    /// Begins it: a header where there is none. A run that was killed may have left half a line, which
    /// goes if it is the beginning of one of these, and is ended otherwise.
    fn begin(&self, lines: &[String]) -> io::Result<()> {
        let meta = self.file.metadata()?;
        let is_header_torn = meta.len() < HEADER.len() as u64;
        if meta.is_file() && (!self.is_resumable || is_header_torn) {
            self.file.set_len(0)?;
        } else if meta.len() > 0 {
            let torn = output::torn_line(&self.file)?;
            let is_known = |line: &String| line.as_bytes().starts_with(&torn);
            return match torn.is_empty() {
                true => Ok(()),
                false if lines.iter().any(is_known) => {
                    self.file.set_len(meta.len() - torn.len() as u64)
                }
                false => (&self.file).write_all(b"\n"),
            };
        }
        output::append(&self.file, HEADER)
    }
}

/// What tells a row from all others: number, start and time, which are its first four columns.
fn key_of(row: &[u8]) -> &[u8] {
    let mut tabs = row.iter().enumerate().filter(|(_, byte)| **byte == b'\t');
    tabs.nth(3).map_or(row, |(at, _)| &row[..at])
}

pub(super) struct JobLog {
    place: Place,
    setup: Setup,
    spool: Spool,
    unwritten: Unwritten,
    has_begun: bool,
    is_fine: bool,
}

impl JobLog {
    pub(super) fn new(place: Place, setup: Setup, spool: Spool, unwritten: Unwritten) -> Self {
        JobLog {
            place,
            setup,
            spool,
            unwritten,
            has_begun: false,
            is_fine: true,
        }
    }

    /// Begins the file, and writes what an earlier run has not.
    fn begin(&mut self, earlier: &[Ended]) -> io::Result<()> {
        let rows = earlier.iter();
        let lines: Vec<String> = rows.map(|row| self.line(row)).collect::<io::Result<_>>()?;
        self.place.begin(&lines)?;
        self.has_begun = true;
        let missing = output::missing_lines(&self.place.file, lines, key_of)?;
        missing.iter().try_for_each(|line| self.write(line))
    }

    /// In one piece, so that a kill leaves whole lines.
    fn write(&self, line: &str) -> io::Result<()> {
        output::append(&self.place.file, line)
    }

    /// Writes a row, after the header: there may have been no room for that before.
    fn add(&mut self, row: &Ended) -> io::Result<()> {
        let line = self.line(row)?;
        if !self.has_begun {
            self.place.begin(&[])?;
            self.has_begun = true;
        }
        self.write(&line)
    }

    fn line(&self, row: &Ended) -> io::Result<String> {
        let received = self
            .spool
            .open(row.id, row.attempt, Stream::Stdout)?
            .map_or(Ok(0), |file| file.metadata().map(|meta| meta.len()))?;
        let (code, signal) = match row.exit {
            Some(Exit::Exited(code)) => (code, 0),
            Some(Exit::Signaled(signal)) => (0, signal),
            Some(Exit::Unknown) | None => (-1, 0),
        };
        let command = self.setup.shown(Values {
            item: row.item.as_bytes(),
            number: row.id.0,
            slot: jobs::slot_of(&row.worker).unwrap_or(0),
        });
        Ok(format!(
            "{}\t:\t{:.3}\t{:10.3}\t0\t{received}\t{code}\t{signal}\t{command}\n",
            row.id,
            row.started.as_secs_f64(),
            row.took.as_secs_f64(),
        ))
    }

    /// The first failure is told; the run goes on, and the journal keeps these rows.
    fn check<'a>(&mut self, result: io::Result<()>, rows: impl IntoIterator<Item = &'a Ended>) {
        let Err(error) = result else {
            return;
        };
        for row in rows {
            self.unwritten.add(row.id, row.attempt);
        }
        if std::mem::replace(&mut self.is_fine, false) {
            let path = self.place.path.display();
            screen::complain(&format_args!("--joblog {path}: cannot be written: {error}"));
        }
    }
}

/// The attempt that an event ends. What was given up on before any attempt has no line.
fn row_of(event: &Event) -> Option<Ended> {
    Ended::of(event).filter(|row| !row.worker.is_empty())
}

impl View for JobLog {
    fn see_earlier(&mut self, events: &[Event]) -> io::Result<()> {
        let rows: Vec<Ended> = events.iter().filter_map(row_of).collect();
        let begun = self.begin(&rows);
        self.check(begun, &rows);
        Ok(())
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        if let Some(row) = row_of(event) {
            let written = self.add(&row);
            self.check(written, [&row]);
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<bool> {
        Ok(self.is_fine)
    }
}
