//! `--joblog`: a line for each attempt, in the columns of GNU parallel.
//!
//! Send is always 0, as nothing is sent anywhere; Receive is what the command wrote to stdout. A
//! command that was killed with its worker has the worker's signal; one that never ended by itself
//! and was not killed has -1.

use std::fs::{File, OpenOptions};
use std::io::{self, LineWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    how.create(true).read(is_resumable).write(true);
    let flags = match is_resumable {
        true => OFlag::O_APPEND,
        false => OFlag::empty(),
    };
    let file = output::open("--joblog", path, taken, &mut how, flags)?;
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
    /// Begins it: a header where there is none. A run that was killed may have left half a line.
    fn begin(&self) -> io::Result<()> {
        let meta = self.file.metadata()?;
        if meta.is_file() && !self.is_resumable {
            self.file.set_len(0)?;
        } else if meta.len() > 0 {
            return output::end_torn_line(&self.path, &self.file);
        }
        (&self.file).write_all(HEADER.as_bytes())
    }
}

pub(super) struct JobLog {
    path: PathBuf,
    /// By lines, so that a kill leaves whole ones.
    out: LineWriter<File>,
    setup: Setup,
    spool: Spool,
    /// When the run began, as time since 1970.
    origin: Duration,
    is_fine: bool,
}

impl JobLog {
    pub(super) fn new(place: Place, setup: Setup, spool: Spool, origin: Duration) -> Self {
        let begun = place.begin();
        let mut log = JobLog {
            path: place.path,
            out: LineWriter::new(place.file),
            setup,
            spool,
            origin,
            is_fine: true,
        };
        log.check(begun);
        log
    }

    fn write(&mut self, row: &Ended) -> io::Result<()> {
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
        let line = format!(
            "{}\t:\t{:.3}\t{:10.3}\t0\t{received}\t{code}\t{signal}\t{command}\n",
            row.id,
            row.started.as_secs_f64(),
            row.took.as_secs_f64(),
        );
        self.out.write_all(line.as_bytes())
    }

    /// The first failure is told; the run goes on.
    fn check(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && std::mem::replace(&mut self.is_fine, false)
        {
            let path = self.path.display();
            printer::complain(&format_args!("--joblog {path}: cannot be written: {error}"));
        }
    }
}

impl View for JobLog {
    fn see(&mut self, event: &Event) -> io::Result<()> {
        // What was given up on before any attempt has no line.
        let row = Ended::of(event, self.origin).filter(|row| !row.worker.is_empty());
        if let Some(row) = row {
            let written = self.write(&row);
            self.check(written);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.check(flushed);
        Ok(())
    }

    fn end(&mut self) -> io::Result<bool> {
        self.flush()?;
        Ok(self.is_fine)
    }
}
