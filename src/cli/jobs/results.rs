//! `--results`: keeps the results of each item in a folder of its own.
//!
//! With a journal, ends that an earlier run has not shown are reported again. Files that the
//! earlier run wrote of them stay; facts that are lost, the command for example, are left out.

mod folder;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::folder::Folder;
use super::ended::AttemptEnd;
use crate::Exit;
use crate::cli::letter::UtcTime;
use crate::cli::{output, screen};
use crate::jobs::spool::{OutputStream, Spool};
use crate::jobs::template::Values;
use crate::jobs::{Setup, owned};

/// The marker of a folder of results.
const MARK: &str = "results of dishrack's supervisor\n";

/// The name of a result until it is whole.
const RESULT_NEW: &str = "result.json.new";

/// A folder of results, which no other run uses.
#[derive(Debug)]
pub(super) struct ResultsFolder {
    folder: PathBuf,
    open: Folder,
    /// `None` if the file system has no locks.
    _lock: Option<File>,
}

impl ResultsFolder {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Makes the folder, or takes an existing one with the marker, or with nothing to be overwritten.
///
/// # Errors
/// Nothing can be written there, it is one of `taken`, the run's own files, or it belongs to
/// another program or run; in words.
pub(super) fn prepare(folder: &Path, taken: &[PathBuf]) -> Result<ResultsFolder, String> {
    let refused = |why: String| format!("--results {}: {why}", folder.display());
    if let Some(other) = taken.iter().find(|other| output::is_within(folder, other)) {
        return Err(refused(format!(
            "it is what {} is, or in it: name another folder",
            other.display()
        )));
    }
    let unwritable = |error: io::Error| refused(format!("cannot be written: {error}"));
    fs::create_dir_all(folder).map_err(unwritable)?;
    // The folder behind any links holds the marker and the lock.
    let folder = &folder.canonicalize().map_err(unwritable)?;
    if !owned::is_own(folder).map_err(unwritable)? {
        return Err(refused(
            "it is another user's folder: name one of your own".into(),
        ));
    }
    tempfile::tempfile_in(folder).map_err(unwritable)?;
    let lock = match owned::lock_in_time(folder) {
        Ok(None) => {
            return Err(refused(
                "another run is using it: name another folder".into(),
            ));
        }
        lock => lock.unwrap_or(None),
    };
    match owned::mark_of(folder).map_err(unwritable)? {
        Some(mark) if mark == MARK => {}
        // The first run was killed, or had no room, before all of it was written.
        Some(mark)
            if MARK.starts_with(&mark) && numbered(folder).map_err(unwritable)?.is_none() =>
        {
            fs::remove_file(folder.join(owned::MARKER)).map_err(unwritable)?;
            owned::put_mark(folder, MARK).map_err(unwritable)?;
        }
        Some(_) => {
            return Err(refused(
                "it is this program's own: name another folder".into(),
            ));
        }
        None => {
            if let Some(name) = numbered(folder).map_err(unwritable)? {
                return Err(refused(format!(
                    "{name} is in it, which would be written over, and it is no folder of results by \
                     this program: name another folder"
                )));
            }
            owned::put_mark(folder, MARK).map_err(unwritable)?;
        }
    }
    Ok(ResultsFolder {
        folder: folder.to_owned(),
        open: Folder::open(folder).map_err(unwritable)?,
        _lock: lock,
    })
}

/// Returns something in the folder that has the name of an item.
fn numbered(folder: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if is_number(&name) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn is_number(name: &OsStr) -> bool {
    !name.is_empty() && name.as_bytes().iter().all(u8::is_ascii_digit)
}

/// Removes the files of runs from a folder of results, and the folders that are empty without them.
fn remove_numbered(place: &ResultsFolder) -> io::Result<()> {
    for entry in fs::read_dir(&place.folder)? {
        let entry = entry?;
        // No link is followed.
        if !is_number(&entry.file_name()) || !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let folder = place.open.folder(&name)?;
        for name in [RESULT, RESULT_NEW, "stdout", "stderr"] {
            folder.remove(name)?;
        }
        place.open.remove_if_empty(&name)?;
    }
    Ok(())
}

/// Writes the folders.
pub(super) struct Results {
    place: ResultsFolder,
    setup: Setup,
    is_fine: bool,
}

impl Results {
    pub(super) fn new(place: ResultsFolder, setup: Setup) -> Self {
        Results {
            place,
            setup,
            is_fine: true,
        }
    }

    /// Removes what an earlier run has kept, so that it is not taken for this one's. Other files in
    /// the folder stay. The first failure is reported; the run goes on.
    pub(super) fn begin_anew(&mut self) {
        let removed = remove_numbered(&self.place);
        self.check(removed);
    }

    /// Keeps the results of the last attempt at an item, which ended in this run or an earlier one.
    /// Returns `true` if they are kept. The first failure is reported; the run goes on.
    pub(super) fn keep(&mut self, ended: &AttemptEnd, run: WhichRun, spool: &Spool) -> bool {
        let written = self.write(ended, run, spool);
        self.check(written)
    }

    /// Reports the first failure. Returns `true` on success.
    fn check(&mut self, done: io::Result<()>) -> bool {
        let Err(error) = done else {
            return true;
        };
        if std::mem::replace(&mut self.is_fine, false) {
            let folder = self.place.folder.display();
            screen::complain(&format_args!(
                "--results {folder}: cannot be written: {error}"
            ));
        }
        false
    }

    fn write(&self, ended: &AttemptEnd, run: WhichRun, spool: &Spool) -> io::Result<()> {
        let folder = self.place.open.folder(&self.number(ended).to_string())?;
        let object = self.object(ended, run);
        let found = match run {
            WhichRun::Present => None,
            WhichRun::Earlier => result_in(&folder)?,
        };
        if found.as_ref().is_some_and(|found| is_kept(found, &object)) {
            return Ok(());
        }
        // It has another name until it is whole.
        let new = RESULT_NEW;
        let mut file = folder.create(new)?;
        file.write_all(format!("{object}\n").as_bytes())?;
        // A file of the spool is private to its owner; here it gets the mode of a new file.
        let mode = file.metadata()?.permissions();
        for stream in OutputStream::BOTH {
            let name = stream.name();
            match (spool.open(ended.run(), stream)?, run) {
                (Some(from), _) => folder.put(&from, name, &mode)?,
                // The command wrote nothing.
                (None, WhichRun::Present) => drop(folder.create(name)?),
                // The command wrote nothing, or its output is gone. The file there is another
                // attempt's.
                (None, WhichRun::Earlier) if found.is_some() => folder.remove(name)?,
                (None, WhichRun::Earlier) => {}
            }
        }
        folder.rename(new, RESULT)
    }

    fn number(&self, ended: &AttemptEnd) -> u64 {
        self.setup.numbering.place_of(ended.id)
    }

    fn object(&self, ended: &AttemptEnd, run: WhichRun) -> Value {
        // An earlier run may have had another command.
        let command = (run == WhichRun::Present).then(|| {
            self.setup.shown(Values {
                item: ended.item.as_bytes(),
                number: self.number(ended),
                place: ended.slot(),
                slots: (&[], 0),
            })
        });
        let (code, signal) = match ended.exit {
            Some(Exit::Exited(code)) => (Some(code), None),
            Some(exit @ Exit::Signaled(_)) => (None, exit.signal_name()),
            Some(Exit::Unknown) | None => (None, None),
        };
        // An item that became a dead letter before any attempt has no worker, and never began.
        let has_begun = !ended.worker.is_empty();
        json!({
            "number": self.number(ended),
            "item": &*ended.item,
            "command": command,
            "attempts": ended.attempt,
            "exit_code": code,
            "signal": signal,
            "cause": ended.cause,
            "worker": has_begun.then_some(&*ended.worker),
            "started": has_begun.then(|| UtcTime(ended.started).to_string()),
            "ended": UtcTime(ended.started + ended.took).to_string(),
            "seconds": has_begun.then_some(ended.took.as_secs_f64()),
        })
    }
}

/// The run in which an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhichRun {
    Present,
    /// An earlier run with the same journal.
    Earlier,
}

/// The file about the end of an item.
const RESULT: &str = "result.json";

/// The size above which a file is not a result, because no item is as long.
const RESULT_BYTES_MAX: u64 = 64 << 20;

/// Returns the result that an earlier run wrote of an item, if it can be read.
fn result_in(folder: &Folder) -> io::Result<Option<Value>> {
    let bytes = folder.read(RESULT, RESULT_BYTES_MAX)?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Returns `true` if `found` is of the same attempt, or of one that ended later.
fn is_kept(found: &Value, object: &Value) -> bool {
    let is_same = ["number", "attempts", "started", "ended"]
        .iter()
        .all(|key| found[key] == object[key]);
    // All of these times have the same form, so that they sort as text.
    let is_later = found["number"] == object["number"]
        && match (found["ended"].as_str(), object["ended"].as_str()) {
            (Some(found), Some(ours)) => found > ours,
            _ => false,
        };
    is_same || is_later
}
