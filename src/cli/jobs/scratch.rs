//! The folder in which output waits to be shown: made for one run, and gone with it.
//!
//! A run that is killed leaves it. So it holds a file that its run has locked, and the next run
//! removes folders whose lock nobody holds. With a journal the folder stands beside that and is the
//! next run's: what has ended by then and was not shown is shown by it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::fcntl::OFlag;

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::jobs::spool::{Spool, Stream};
use crate::ledger::ItemId;

const PREFIX: &str = ".dishrack-output-";
const LOCK: &str = "lock";

/// A folder, and whose it is.
#[derive(Debug)]
enum Scratch {
    /// This run's, with the lock on it.
    Own { folder: TempDir, _lock: File },
    /// Its journal's.
    OfJournal(PathBuf),
}

static SCRATCH: Mutex<Option<Scratch>> = Mutex::new(None);

/// Whether nothing waits to be shown.
static IS_ALL_SHOWN: AtomicBool = AtomicBool::new(false);

/// Makes the folder: beside the journal, which is ours by now; in `within`, from where files can be
/// linked to their place in it; or in the temporary folder.
///
/// # Errors
/// It cannot be made; in words.
pub(super) fn create(journal: Option<&Path>, within: Option<&Path>) -> Result<PathBuf, String> {
    let unusable = |folder: &Path, error: &io::Error| {
        let folder = folder.display();
        format!("output cannot be kept in {folder}: {error}")
    };
    let (path, scratch) = match journal {
        Some(journal) => {
            let mut path = journal.as_os_str().to_owned();
            path.push("-output");
            let path = PathBuf::from(path);
            match fs::create_dir(&path) {
                Err(error) if !path.is_dir() => return Err(unusable(&path, &error)),
                _ => {}
            }
            (path.clone(), Scratch::OfJournal(path))
        }
        None => {
            let parent = within.map_or_else(std::env::temp_dir, Path::to_owned);
            remove_leftovers(&parent);
            let (folder, lock) = make(&parent).map_err(|error| unusable(&parent, &error))?;
            let path = folder.path().to_owned();
            (
                path,
                Scratch::Own {
                    folder,
                    _lock: lock,
                },
            )
        }
    };
    *SCRATCH.lock().unwrap_or_else(PoisonError::into_inner) = Some(scratch);
    Ok(path)
}

/// The items that ended in an earlier run and were not shown, and their last attempts. What belongs
/// to others will come again, or never was: it is removed.
pub(super) fn unshown(
    spool: &Spool,
    unfinished: &BTreeSet<ItemId>,
    accepted: u64,
) -> Vec<(ItemId, u32)> {
    let mut last: BTreeMap<ItemId, u32> = BTreeMap::new();
    let there = spool.attempts();
    let has_ended = |id: &ItemId| id.0 <= accepted && !unfinished.contains(id);
    for (id, attempt) in there.iter().filter(|(id, _)| has_ended(id)) {
        let latest = last.entry(*id).or_default();
        *latest = (*latest).max(*attempt);
    }
    for (id, attempt) in there {
        if last.get(&id) != Some(&attempt) {
            for stream in Stream::BOTH {
                spool.remove(id, attempt, stream);
            }
        }
    }
    last.into_iter().collect()
}

/// Nothing waits to be shown any more.
pub(super) fn note_all_shown() {
    IS_ALL_SHOWN.store(true, Ordering::Release);
}

fn make(parent: &Path) -> io::Result<(TempDir, File)> {
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
    // It gets its name when it is locked, so that nobody takes it for a leftover before.
    let nameless = folder.path().join("new");
    let lock = File::create_new(&nameless)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    fs::rename(&nameless, folder.path().join(LOCK))?;
    Ok((folder, lock))
}

/// Removes the folder, if there is one. To be called wherever the process ends.
pub(in crate::cli) fn remove() {
    let scratch = SCRATCH
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let is_all_shown = IS_ALL_SHOWN.load(Ordering::Acquire);
    let path = match &scratch {
        Some(Scratch::Own { folder, .. }) => folder.path(),
        Some(Scratch::OfJournal(path)) if is_all_shown => path,
        _ => return,
    };
    // Under another name, so that workers that are still there put nothing more into it.
    let gone = path.with_extension("gone");
    let is_renamed = fs::rename(path, &gone).is_ok();
    // What is left of it, the next run removes.
    let _ = fs::remove_dir_all(if is_renamed { &gone } else { path });
}

/// Removes the folders of runs that were killed: those of our own whose lock nobody holds, and old
/// ones that never had a lock.
fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_named_so = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if is_named_so && is_leftover(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder is without a lock for a moment only; older than this it is a leftover.
const AGE: Duration = Duration::from_secs(3600);

fn is_leftover(folder: &Path) -> bool {
    let Ok(meta) = fs::symlink_metadata(folder) else {
        return false;
    };
    if !meta.is_dir() || meta.uid() != geteuid().as_raw() {
        return false;
    }
    // A named pipe in its place is no reason to wait.
    let lock = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits() | OFlag::O_NOFOLLOW.bits())
        .open(folder.join(LOCK));
    match lock {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let age = meta.modified().ok().and_then(|at| at.elapsed().ok());
            age.is_some_and(|age| age > AGE)
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_folders_that_nobody_uses_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let folder = parent.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&folder).unwrap();
            (File::create_new(folder.join(LOCK)).unwrap(), folder)
        };
        let (_unlocked, left) = make("left");
        let (locked, used) = make("used");
        flock(&locked, FlockOperation::NonBlockingLockExclusive).unwrap();
        let other = parent.path().join("other");
        fs::create_dir(&other).unwrap();
        remove_leftovers(parent.path());
        assert!(!left.exists() && used.exists() && other.exists());
    }

    #[test]
    fn only_the_last_attempts_of_items_that_have_ended_are_shown_later() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::at(folder.path());
        for (id, attempt) in [(1, 1), (2, 1), (2, 2), (3, 1), (9, 1)] {
            let path = spool.path(ItemId(id), attempt, Stream::Stderr);
            File::create(path).unwrap().write_all(b"x").unwrap();
        }
        fs::write(folder.path().join("notes.txt"), "not ours").unwrap();
        let left = unshown(&spool, &[ItemId(3)].into(), 5);
        assert_eq!(left, [(ItemId(1), 1), (ItemId(2), 2)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
