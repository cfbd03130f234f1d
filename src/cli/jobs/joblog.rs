//! `--joblog`: a line for each attempt, in the columns of GNU parallel.
//!
//! Send is always 0, as nothing is sent anywhere; Receive is what the command wrote to stdout. A
//! command that was killed with its worker has the worker's signal; one that never ended by itself
//! and was not killed has -1.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;

use crate::cli::view::View;
use crate::cli::{output, printer};
use crate::jobs::spool::{Spool, Stream};
use crate::jobs::template::Values;
use crate::jobs::{self, Setup, ending};
use crate::ledger::{Exit, Failure, ItemId};
use crate::observe::{Event, What};

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// Opens the file: anew, or to go on where an earlier run stopped.
///
/// # Errors
/// It cannot be written; in words.
pub(super) fn open(path: &Path, is_resumable: bool, taken: &[PathBuf]) -> Result<File, String> {
    let mut how = OpenOptions::new();
    how.create(true).write(true);
    let flags = match is_resumable {
        true => OFlag::O_APPEND,
        false => OFlag::empty(),
    };
    let file = output::open("--joblog", path, taken, &mut how, flags)?;
    let begin = || {
        let meta = file.metadata()?;
        if meta.is_file() && !is_resumable {
            file.set_len(0)?;
        }
        match is_resumable && meta.len() > 0 {
            true => Ok(()),
            false => (&file).write_all(HEADER.as_bytes()),
        }
    };
    match begin() {
        Ok(()) => Ok(file),
        Err(error) => {
            let path = path.display();
            Err(format!("--joblog {path}: cannot be written: {error}"))
        }
    }
}

pub(super) struct JobLog {
    path: PathBuf,
    out: BufWriter<File>,
    setup: Setup,
    spool: Spool,
    /// When the run began, as time since 1970.
    origin: Duration,
    is_fine: bool,
}

/// One attempt that is over.
struct Row<'a> {
    id: ItemId,
    item: &'a str,
    attempt: u32,
    worker: &'a str,
    started: Duration,
    took: Duration,
    exit: Option<Exit>,
}

impl JobLog {
    pub(super) fn new(
        (path, file): (PathBuf, File),
        setup: Setup,
        spool: Spool,
        origin: Duration,
    ) -> Self {
        JobLog {
            path,
            out: BufWriter::new(file),
            setup,
            spool,
            origin,
            is_fine: true,
        }
    }

    fn write(&mut self, row: &Row<'_>) -> io::Result<()> {
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
            slot: jobs::slot_of(row.worker).unwrap_or(0),
        });
        writeln!(
            self.out,
            "{}\t:\t{:.3}\t{:10.3}\t0\t{received}\t{code}\t{signal}\t{command}",
            row.id,
            row.started.as_secs_f64(),
            row.took.as_secs_f64(),
        )
    }

    fn failed(&mut self, id: ItemId, item: &str, failure: &Failure) -> io::Result<()> {
        let scene = &failure.scene;
        if scene.worker.is_empty() {
            // It was given up on before any attempt.
            return Ok(());
        }
        self.write(&Row {
            id,
            item,
            attempt: failure.attempt,
            worker: &scene.worker,
            started: scene.started,
            took: scene.ended.saturating_sub(scene.started),
            exit: ending::of_cause(&failure.cause),
        })
    }

    fn note(&mut self, event: &Event) -> io::Result<()> {
        match &event.what {
            What::ItemDone {
                id,
                item,
                worker,
                attempt,
                duration,
                ..
            } => self.write(&Row {
                id: *id,
                item,
                attempt: *attempt,
                worker,
                started: (self.origin + event.at).saturating_sub(*duration),
                took: *duration,
                exit: Some(Exit::Exited(0)),
            }),
            What::Retry { id, item, failure } => self.failed(*id, item, failure),
            What::Dead { id, item, history } => match history.last() {
                Some(failure) => self.failed(*id, item, failure),
                None => Ok(()),
            },
            _ => Ok(()),
        }
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
        let noted = self.note(event);
        self.check(noted);
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
