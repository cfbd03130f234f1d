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

use nix::fcntl::OFlag;

use super::ended::Ended;
use crate::cli::view::View;
use crate::cli::{output, printer};
use crate::jobs::spool::{Spool, Stream};
use crate::jobs::template::Values;
use crate::jobs::{self, Setup};
use crate::ledger::Exit;
use crate::observe::Event;

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
    how.create(true).write(true);
    let flags = match is_resumable {
        true => OFlag::O_APPEND,
        false => OFlag::empty(),
    };
    let file = output::open("--joblog", path, taken, &mut how, flags)?;
    output::check_ours("--joblog", (path, &file), HEADER, "a job log")?;
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
        if meta.is_file() && !self.is_resumable {
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
        (&self.file).write_all(HEADER.as_bytes())
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
    is_fine: bool,
}

impl JobLog {
    pub(super) fn new(place: Place, setup: Setup, spool: Spool) -> Self {
        JobLog {
            place,
            setup,
            spool,
            is_fine: true,
        }
    }

    /// Begins the file, and writes what an earlier run has not.
    fn begin(&mut self, earlier: &[Event]) -> io::Result<()> {
        let rows = earlier.iter().filter_map(row_of);
        let lines: Vec<String> = rows.map(|row| self.line(&row)).collect::<io::Result<_>>()?;
        self.place.begin(&lines)?;
        let missing = output::missing_lines(&self.place.file, lines, key_of)?;
        missing.iter().try_for_each(|line| self.write(line))
    }

    /// In one piece, so that a kill leaves whole lines.
    fn write(&self, line: &str) -> io::Result<()> {
        (&self.place.file).write_all(line.as_bytes())
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

    /// The first failure is told; the run goes on.
    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && std::mem::replace(&mut self.is_fine, false)
        {
            let path = self.place.path.display();
            printer::complain(&format_args!("--joblog {path}: cannot be written: {error}"));
        }
    }
}

/// The attempt that an event ends. What was given up on before any attempt has no line.
fn row_of(event: &Event) -> Option<Ended> {
    Ended::of(event).filter(|row| !row.worker.is_empty())
}

impl View for JobLog {
    fn see_earlier(&mut self, events: &[Event]) -> io::Result<()> {
        let begun = self.begin(events);
        self.check(begun);
        Ok(())
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        if let Some(row) = row_of(event) {
            let written = self.line(&row).and_then(|line| self.write(&line));
            self.check(written);
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<bool> {
        Ok(self.is_fine)
    }
}
