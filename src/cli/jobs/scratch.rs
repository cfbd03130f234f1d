//! The folder in which output waits to be shown: made for one run, and gone with it.
//!
//! A run that is killed leaves it. So it holds a file that its run has locked, and the next run
//! removes folders whose lock nobody holds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

const PREFIX: &str = ".dishrack-output-";
const LOCK: &str = "lock";

/// The folder, and the lock on it.
static SCRATCH: Mutex<Option<(TempDir, File)>> = Mutex::new(None);

/// Makes the folder: in this one, from where files can be moved to their place in it, or in the
/// temporary folder.
///
/// # Errors
/// It cannot be made; in words.
pub(super) fn create(within: Option<&Path>) -> Result<PathBuf, String> {
    let parent = within.map_or_else(std::env::temp_dir, Path::to_owned);
    remove_leftovers(&parent);
    let unusable = |error| {
        let parent = parent.display();
        format!("output cannot be kept in {parent}: {error}")
    };
    let folder = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(&parent)
        .map_err(unusable)?;
    let lock = File::create_new(folder.path().join(LOCK)).map_err(unusable)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|errno| unusable(errno.into()))?;
    let path = folder.path().to_owned();
    let mut scratch = SCRATCH.lock().unwrap_or_else(PoisonError::into_inner);
    *scratch = Some((folder, lock));
    Ok(path)
}

/// Removes the folder, if there is one. To be called wherever the process ends.
pub(in crate::cli) fn remove() {
    let scratch = SCRATCH
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some((folder, _lock)) = scratch {
        // What is left of it, the next run removes.
        let _ = folder.close();
    }
}

/// Removes the folders of runs that were killed.
fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Ok(lock) = File::open(entry.path().join(LOCK))
            && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
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
}
