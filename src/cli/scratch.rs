//! The folder in which output waits to be shown. It is made for one run, and removed at its end.
//!
//! If the run is killed, the next run removes the folder. With a journal the folder stands beside
//! it, has a marker with the journal's identity, and belongs to the next run, which shows what was
//! not shown. `owned` and the spool's names say which folders and files may be used and removed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::screen;
use crate::jobs::owned;
use crate::jobs::spool::Spool;
use crate::store::journal::own_path;

/// The beginning of all markers.
const MARKS: &str = "output of ";

/// The marker of a run without a journal.
const MARK: &str = "output of a run of dishrack's supervisor\n";

/// A folder, and its owner.
#[derive(Debug)]
struct Scratch {
    spool: Spool,
    /// A share of its lock; `None` if the file cannot be opened or locked.
    lock: Option<File>,
    whose: Whose,
}

#[derive(Debug, Clone, Copy)]
enum Whose {
    /// This run.
    Own,
    /// Its journal.
    Journal { is_all_shown: bool, is_kept: bool },
}

static SCRATCH: Mutex<Option<Scratch>> = Mutex::new(None);

/// Returns the folder of a journal, the same for each name of the journal.
pub(super) fn folder_of(journal: &Path) -> PathBuf {
    let mut path = own_path(journal).into_os_string();
    path.push("-output");
    path.into()
}

fn mark_of(identity: u128) -> String {
    format!("output of journal {identity:032x} of dishrack's supervisor\n")
}

/// Makes the folder beside the journal of this identity, which this process has claimed, or finds
/// it as an earlier run has left it, with any output to be shown.
///
/// # Errors
/// Something is there that was not made for this journal, or it cannot be made; in words.
pub(super) fn create_for(
    journal: &Path,
    identity: u128,
    is_any_unshown: bool,
) -> Result<Spool, String> {
    let (folder, mark) = (folder_of(journal), mark_of(identity));
    if let Some(parent) = folder.parent() {
        owned::remove_leftovers(parent, MARKS, Spool::is_name);
    }
    match owned::make(&folder, &mark) {
        Ok(_) if is_any_unshown => screen::complain(&format_args!(
            "{} is not there: what the last run had not shown of its jobs' output cannot be shown",
            folder.display()
        )),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = owned::mark_of(&folder).map_err(|error| unusable(&folder, &error))?;
            if found.as_ref() != Some(&mark) {
                let (folder, journal) = (folder.display(), journal.display());
                return Err(format!(
                    "{folder} is there, and was not made for journal {journal}, which needs that \
                     name: move it away, or name another journal"
                ));
            }
        }
        Err(error) => return Err(unusable(&folder, &error)),
    }
    let whose = Whose::Journal {
        is_all_shown: false,
        is_kept: false,
    };
    let lock = owned::hold(&folder).unwrap_or(None);
    Ok(use_from_now_on(Spool::made(&folder, &mark), lock, whose))
}

/// Makes a folder in this one, and removes those of killed runs.
///
/// # Errors
/// It cannot be made; in words.
pub(super) fn create_in(parent: &Path) -> Result<Spool, String> {
    owned::remove_leftovers(parent, MARKS, Spool::is_name);
    let made = owned::make_nameless(parent, MARK);
    let (folder, lock) = made.map_err(|error| unusable(parent, &error))?;
    Ok(use_from_now_on(
        Spool::made(&folder, MARK),
        lock,
        Whose::Own,
    ))
}

fn unusable(folder: &Path, error: &io::Error) -> String {
    let folder = folder.display();
    format!("output cannot be kept in {folder}: {error}")
}

fn use_from_now_on(spool: Spool, lock: Option<File>, whose: Whose) -> Spool {
    let scratch = Scratch {
        spool: spool.clone(),
        lock,
        whose,
    };
    *SCRATCH.lock() = Some(scratch);
    spool
}

/// Makes sure that the folder is there and that this run has its share of the lock. A cleaner of
/// temporary folders may have removed it, and a worker that needed it may have made it again.
pub(super) fn look_after() {
    let mut scratch = SCRATCH.lock();
    let Some(Scratch { spool, lock, .. }) = &mut *scratch else {
        return;
    };
    let folder = spool.folder();
    if let Some(opened) = lock
        && !owned::is_there(opened, folder)
        && let Ok(made) = spool.make_again()
    {
        *lock = made.or_else(|| owned::hold(folder).unwrap_or(None));
        screen::complain(&format_args!(
            "{} was removed while this run used it; it is made again",
            folder.display()
        ));
    }
}

/// Notes that no output waits to be shown any more.
pub(super) fn note_all_shown() {
    let mut scratch = SCRATCH.lock();
    if let Some(Scratch { whose, .. }) = &mut *scratch
        && let Whose::Journal { is_all_shown, .. } = whose
    {
        *is_all_shown = true;
    }
}

/// Leaves a journal's folder to the next run, even if this one shows everything.
pub(super) fn keep() {
    let mut scratch = SCRATCH.lock();
    if let Some(Scratch { whose, .. }) = &mut *scratch
        && let Whose::Journal { is_kept, .. } = whose
    {
        *is_kept = true;
    }
}

/// Removes the folder, if there is one and it is not needed. Call it at each end of the process.
pub(super) fn remove() {
    let scratch = SCRATCH.lock().take();
    let Some(scratch) = scratch else {
        return;
    };
    if let Whose::Journal {
        is_all_shown,
        is_kept,
    } = scratch.whose
        && (is_kept || !is_all_shown)
    {
        return;
    }
    let folder = scratch.spool.folder();
    if !owned::remove(folder, Spool::is_name) && fs::symlink_metadata(folder).is_ok() {
        screen::say_in_time(format!(
            "supervisor: {} stays: it has files in it that are not this program's",
            folder.display()
        ));
    }
}
