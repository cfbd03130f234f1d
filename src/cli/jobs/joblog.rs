//! `--joblog`: a line for each attempt, in the columns of GNU parallel.
//!
//! Send is always 0, because nothing is sent anywhere; Receive is the size of the command's stdout.
//! A command that was killed with its worker has the worker's signal; one that never ended by
//! itself and was not killed has -1.
//!
//! Where an attempt has several copies there is a row for each, and none for the attempt. Its Host
//! is then the worker and what became of the copy, as `worker-2:counted`; all others have `:`, as
//! parallel has for this host. So each column stays where other programs look for it.
//!
//! With a journal the log goes on where an earlier run stopped: a row that the journal kept is
//! written unless the file has it. An attempt is known by its number and its times, and so is the
//! copy that it ended with. Of the other copies the journal knows nothing.
//!
//! A later run can go on from the log alone (`--resume`): it leaves out the items that have rows.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ended::{AttemptEnd, CopyEnded};
use crate::cli::unwritten::Unwritten;
use crate::cli::view::View;
use crate::cli::{output, screen};
use crate::jobs::Setup;
use crate::jobs::spool::{CommandRun, OutputStream, Spool};
use crate::jobs::template::Values;
use crate::observe::{Event, EventKind};
use crate::{CopyEnd, Exit, ItemId};

const HEADER: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

/// Returns the file, and whether rows are added to it: `+FILE`, as GNU parallel has it.
pub(super) fn place(given: &Path) -> (&Path, bool) {
    let added = given.as_os_str().as_bytes().strip_prefix(b"+");
    match added.filter(|name| !name.is_empty()) {
        Some(name) => (Path::new(OsStr::from_bytes(name)), true),
        None => (given, false),
    }
}

/// Opens the file, to write it anew or to go on with a journal's. Changes nothing in it yet.
///
/// # Errors
/// The file cannot be written; in words.
pub(super) fn open(
    path: &Path,
    is_resumable: bool,
    taken: &mut Vec<PathBuf>,
) -> Result<JoblogFile, String> {
    let mut how = OpenOptions::new();
    how.create(true).read(is_resumable).append(true);
    let file = output::open("--joblog", path, taken, &mut how)?;
    output::check_ours("--joblog", (path, &file), HEADER, "a job log")?;
    output::lock("--joblog", (path, &file))?;
    taken.push(path.to_owned());
    Ok(JoblogFile {
        path: path.to_owned(),
        file,
        is_resumable,
    })
}

/// Returns the numbers of the items that have a row in a job log, if there is one; with
/// `is_of_success` only of those that a row says were done: not that of a copy whose end did not count. Half a row at
/// its end counts for nothing.
///
/// # Errors
/// The file cannot be read; in words.
pub(super) fn ended(path: &Path, is_of_success: bool) -> Result<BTreeSet<u64>, String> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => {
            read.map_err(|error| format!("--joblog {}: cannot be read: {error}", path.display()))?
        }
    };
    let rows = bytes.split_inclusive(|byte| *byte == b'\n');
    let rows = rows.filter_map(|row| row.strip_suffix(b"\n")).skip(1);
    Ok(rows
        .filter_map(|row| ended_by(row, is_of_success))
        .collect())
}

/// Returns the number of the item that a row ends.
fn ended_by(row: &[u8], is_of_success: bool) -> Option<u64> {
    let row = String::from_utf8_lossy(row);
    let columns: Vec<&str> = row.splitn(9, '\t').collect();
    let [number, host, _, _, _, _, code, signal, _] = columns[..] else {
        return None;
    };
    // Another copy may have ended well, and its item may be a dead letter.
    let word = host.rsplit(':').next().unwrap_or_default();
    let counts = host == ":" || word == CopyEnd::Counted.word();
    let is_done = counts && code == "0" && signal == "0";
    number.parse().ok().filter(|_| is_done || !is_of_success)
}

/// The open file.
#[derive(Debug)]
pub(super) struct JoblogFile {
    path: PathBuf,
    file: File,
    is_resumable: bool,
}

impl JoblogFile {
    /// Begins the file: writes a header if there is none. A killed run may have left half a line,
    /// which is removed if one of `lines` begins with it, and ended otherwise.
    fn begin(&self, lines: &[String]) -> io::Result<()> {
        let meta = self.file.metadata()?;
        let is_header_torn = meta.len() < HEADER.len() as u64;
        if meta.is_file() && (!self.is_resumable || is_header_torn) {
            self.file.set_len(0)?;
        } else if meta.len() > 0 {
            let torn = output::torn_line(&self.file)?;
            let begun = without_host(&torn);
            let is_known = |line: &String| without_host(line.as_bytes()).starts_with(&begun);
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

/// Returns a row without its Host.
fn without_host(row: &[u8]) -> Vec<u8> {
    let mut columns: Vec<&[u8]> = row.split(|byte| *byte == b'\t').collect();
    if columns.len() > 1 {
        columns.remove(1);
    }
    columns.join(&b'\t')
}

/// Returns the key of a row: number, start and time.
fn key_of(row: &[u8]) -> Vec<u8> {
    let row = without_host(row);
    let columns: Vec<&[u8]> = row.splitn(4, |byte| *byte == b'\t').take(3).collect();
    columns.join(&b'\t')
}

/// A row to be written.
#[derive(Debug, Clone)]
struct JoblogRow {
    ended: AttemptEnd,
    /// The word for what became of it, if it is a copy.
    copy: Option<&'static str>,
}

pub(super) struct JobLog {
    place: JoblogFile,
    setup: Setup,
    spool: Spool,
    unwritten: Unwritten,
    has_begun: bool,
    is_fine: bool,
    /// The copies that run, with the time of their begin.
    copies: HashMap<CommandRun, Duration>,
    /// The items whose copies have rows, so that their attempt has none.
    copied: HashSet<ItemId>,
}

impl JobLog {
    pub(super) fn new(place: JoblogFile, setup: Setup, spool: Spool, unwritten: Unwritten) -> Self {
        JobLog {
            place,
            setup,
            spool,
            unwritten,
            has_begun: false,
            is_fine: true,
            copies: HashMap::new(),
            copied: HashSet::new(),
        }
    }

    /// Returns the row of an event, if it has one.
    fn row_of(&mut self, event: &Event) -> Option<JoblogRow> {
        if let EventKind::ItemStarted {
            id,
            attempt,
            pid,
            copy: Some(_),
            ..
        } = &event.kind
        {
            let (id, attempt, pid) = (*id, *attempt, *pid);
            let run = CommandRun { id, attempt, pid };
            self.copies.insert(run, event.at);
            return None;
        }
        if let Some(copy) = CopyEnded::of(event) {
            let mut ended = copy.ended;
            let begun = self.copies.remove(&ended.run());
            self.copied.insert(ended.id);
            if !copy.is_over
                && let Some(begun) = begun
            {
                ended.took = event.at.saturating_sub(begun);
                ended.started = ended.started.saturating_sub(ended.took);
            }
            let copy = Some(copy.word);
            return Some(JoblogRow { ended, copy });
        }
        let row = attempt_of(event)?;
        (!self.copied.remove(&row.ended.id)).then_some(row)
    }

    /// Begins the file, and writes the rows that an earlier run has not written.
    fn begin(&mut self, earlier: &[JoblogRow]) -> io::Result<()> {
        let rows = earlier.iter();
        let lines: Vec<String> = rows.map(|row| self.line(row)).collect::<io::Result<_>>()?;
        self.place.begin(&lines)?;
        self.has_begun = true;
        let missing = output::missing_lines(&self.place.file, lines, key_of)?;
        missing.iter().try_for_each(|line| self.write(line))
    }

    /// Writes a row at once, so that a kill leaves whole lines.
    fn write(&self, line: &str) -> io::Result<()> {
        output::append(&self.place.file, line)
    }

    /// Writes a row after the header, for which there may have been no room before.
    fn add(&mut self, row: &JoblogRow) -> io::Result<()> {
        let line = self.line(row)?;
        if !self.has_begun {
            self.place.begin(&[])?;
            self.has_begun = true;
        }
        self.write(&line)
    }

    fn line(&self, row: &JoblogRow) -> io::Result<String> {
        let JoblogRow { ended: row, copy } = row;
        let received = self
            .spool
            .open_measured(row.run(), OutputStream::Stdout)?
            .map_or(0, |(_, length)| length);
        let (code, signal) = match row.exit {
            Some(Exit::Exited(code)) => (code, 0),
            Some(Exit::Signaled(signal)) => (0, signal),
            Some(Exit::Unknown) | None => (-1, 0),
        };
        let number = self.setup.numbering.place_of(row.id);
        let command = self.setup.shown(Values {
            item: row.item.as_bytes(),
            number,
            place: row.slot(),
            slots: (&[], 0),
        });
        let host = match copy {
            Some(word) => format!("{}:{word}", row.worker),
            None => ":".to_owned(),
        };
        Ok(format!(
            "{number}\t{host}\t{:.3}\t{:10.3}\t0\t{received}\t{code}\t{signal}\t{command}\n",
            row.started.as_secs_f64(),
            row.took.as_secs_f64(),
        ))
    }

    /// Reports the first failure. The run goes on, and the journal keeps these rows.
    fn check<'a>(&mut self, result: io::Result<()>, rows: impl IntoIterator<Item = &'a JoblogRow>) {
        let Err(error) = result else {
            return;
        };
        for row in rows {
            self.unwritten.add(row.ended.id, row.ended.attempt);
        }
        if std::mem::replace(&mut self.is_fine, false) {
            let path = self.place.path.display();
            screen::complain(&format_args!("--joblog {path}: cannot be written: {error}"));
        }
    }
}

/// Returns the attempt that an event ends. A dead letter without an attempt has no row.
fn attempt_of(event: &Event) -> Option<JoblogRow> {
    let ended = AttemptEnd::of(event).filter(|row| !row.worker.is_empty())?;
    Some(JoblogRow { ended, copy: None })
}

impl View for JobLog {
    fn see_earlier(&mut self, events: &[Event]) -> io::Result<()> {
        let rows: Vec<JoblogRow> = events.iter().filter_map(attempt_of).collect();
        let begun = self.begin(&rows);
        self.check(begun, &rows);
        Ok(())
    }

    fn see(&mut self, event: &Event) -> io::Result<()> {
        if let Some(row) = self.row_of(event) {
            let written = self.add(&row);
            self.check(written, [&row]);
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<bool> {
        Ok(self.is_fine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_was_done_if_an_end_that_counts_was_fine() {
        let row = |host: &str, end: &str| format!("7\t{host}\t1.0\t 0.1\t0\t0\t{end}\ttrue 7");
        let done = [(":", "0\t0"), ("worker-2:counted", "0\t0")];
        let not_done = [
            (":", "1\t0"),
            (":", "0\t9"),
            ("worker-1:void", "0\t0"),
            ("worker-1:disagreed", "0\t0"),
            ("worker-1:counted", "3\t0"),
        ];
        for (host, end) in done {
            assert_eq!(ended_by(row(host, end).as_bytes(), true), Some(7), "{host}");
        }
        for (host, end) in not_done {
            let row = row(host, end);
            assert_eq!(ended_by(row.as_bytes(), true), None, "{row}");
            assert_eq!(ended_by(row.as_bytes(), false), Some(7), "{row}");
        }
    }
}
