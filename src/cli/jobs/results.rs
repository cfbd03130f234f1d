//! `--results`: what each item gave, in a folder of its own.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ended::Ended;
use crate::cli::letter::Clock;
use crate::cli::{output, printer};
use crate::jobs::spool::{Spool, Stream};
use crate::jobs::template::Values;
use crate::jobs::{self, Setup, owned};
use crate::ledger::Exit;

/// The marker of a folder of results.
const MARK: &str = "results of dishrack's supervisor\n";

/// A folder of results, which no other run uses.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    /// `None` where the file system has no locks.
    _lock: Option<File>,
}

impl Place {
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Makes the folder, if it is not there. One that is there is taken if it has our marker, or nothing
/// that would be written over.
///
/// # Errors
/// Nothing can be written there, it is one of `taken`, which are the run's own, somebody else has
/// made it or uses it; in words.
pub(super) fn prepare(folder: &Path, taken: &[PathBuf]) -> Result<Place, String> {
    let refused = |why: String| format!("--results {}: {why}", folder.display());
    if let Some(other) = taken.iter().find(|other| output::is_within(folder, other)) {
        return Err(refused(format!(
            "it is what {} is, or in it: name another folder",
            other.display()
        )));
    }
    let unwritable = |error: io::Error| refused(format!("cannot be written: {error}"));
    fs::create_dir_all(folder).map_err(unwritable)?;
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
    Ok(Place {
        folder: folder.to_owned(),
        _lock: lock,
    })
}

/// Something in a folder that is called like an item.
fn numbered(folder: &Path) -> io::Result<Option<String>> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Writes the folders.
pub(super) struct Results {
    place: Place,
    setup: Setup,
    is_fine: bool,
}

impl Results {
    pub(super) fn new(place: Place, setup: Setup) -> Self {
        Results {
            place,
            setup,
            is_fine: true,
        }
    }

    /// Keeps what the last attempt at an item gave. The first failure is told; the run goes on.
    pub(super) fn keep(&mut self, ended: &Ended, spool: &Spool) {
        let kept = self.write(ended, spool);
        if let Err(error) = kept
            && std::mem::replace(&mut self.is_fine, false)
        {
            let folder = self.place.folder.display();
            printer::complain(&format_args!(
                "--results {folder}: cannot be written: {error}"
            ));
        }
    }

    pub(super) fn are_written(&self) -> bool {
        self.is_fine
    }

    fn write(&self, ended: &Ended, spool: &Spool) -> io::Result<()> {
        let folder = self.place.folder.join(ended.id.0.to_string());
        make_folder(&folder)?;
        let mut text = self.object(ended).to_string();
        text.push('\n');
        let path = folder.join("result.json");
        // An earlier run has come as far as this, and may have shown the output, which is gone then.
        if fs::read(&path).is_ok_and(|found| found == text.as_bytes()) {
            return Ok(());
        }
        // Under another name until all of it is whole.
        let new = folder.join("result.json.new");
        remove_if_there(&new)?;
        let mut file = File::create_new(&new)?;
        file.write_all(text.as_bytes())?;
        // A file of the spool is its owner's alone; here it has the mode that a new file has.
        let mode = file.metadata()?.permissions();
        for stream in Stream::BOTH {
            let from = spool.path(ended.id, ended.attempt, stream);
            put(&from, &folder.join(stream.name()), &mode)?;
        }
        fs::rename(&new, &path)
    }

    fn object(&self, ended: &Ended) -> Value {
        let command = self.setup.shown(Values {
            item: ended.item.as_bytes(),
            number: ended.id.0,
            slot: jobs::slot_of(&ended.worker).unwrap_or(0),
        });
        let (code, signal) = match ended.exit {
            Some(Exit::Exited(code)) => (Some(code), None),
            Some(exit @ Exit::Signaled(_)) => (None, exit.signal_name()),
            Some(Exit::Unknown) | None => (None, None),
        };
        // What was given up on before any attempt has no worker, and never began.
        let has_begun = !ended.worker.is_empty();
        json!({
            "number": ended.id.0,
            "item": &*ended.item,
            "command": command,
            "attempts": ended.attempt,
            "exit_code": code,
            "signal": signal,
            "cause": ended.cause,
            "worker": has_begun.then_some(&*ended.worker),
            "started": has_begun.then(|| Clock(ended.started).to_string()),
            "ended": Clock(ended.started + ended.took).to_string(),
            "seconds": has_begun.then_some(ended.took.as_secs_f64()),
        })
    }
}

/// A folder by this name, and no link to one.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match fs::symlink_metadata(path)?.is_dir() {
                true => Ok(()),
                false => Err(io::Error::other(format!("{} is no folder", path.display()))),
            }
        }
        made => made,
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Puts what lies in the spool into its place as well: there it stays until it is shown.
fn put(from: &Path, to: &Path, mode: &Permissions) -> io::Result<()> {
    // An earlier run's.
    remove_if_there(to)?;
    match fs::hard_link(from, to) {
        Ok(()) => fs::set_permissions(to, mode.clone()),
        // It wrote nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => File::create_new(to).map(drop),
        // On another file system, or one without links.
        Err(_) => io::copy(&mut File::open(from)?, &mut File::create_new(to)?).map(drop),
    }
}
