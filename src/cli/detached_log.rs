//! The file that a detached process writes to, in place of a terminal. It is kept below a size: what is
//! older has a second name, until the next is full. The module does not know what is written.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::Mutex;

/// The size after which a new file is begun.
const BYTES_MAX: u64 = 1 << 20;

/// The file of this process.
static LOG: OnceLock<Mutex<PathBuf>> = OnceLock::new();

/// Opens a log, at its end.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).append(true).mode(0o600).open(path)
}

/// Keeps this process's stderr and stdout small, which are this file.
pub(super) fn keep_small(path: PathBuf) {
    // It is detached once.
    let _ = LOG.set(Mutex::new(path));
}

/// Begins a new file if this one has become large. A failure is ignored, because there is no other place
/// to tell it: the file grows on, and the next line tries again.
pub(super) fn turn_over() {
    let Some(log) = LOG.get() else {
        return;
    };
    // Whoever has the lock does it.
    let Some(path) = log.try_lock() else {
        return;
    };
    let next = next_of(&path, io::stderr(), BYTES_MAX);
    if let Ok(Some(next)) = next
        && rustix::stdio::dup2_stderr(&next).is_ok()
    {
        let _ = rustix::stdio::dup2_stdout(&next);
    }
}

/// Returns the file that comes after an open one, if that is larger than this. The open one has the
/// second name by then. One that has another name already, or none, is left alone.
fn next_of(path: &Path, open: impl AsFd, bytes_max: u64) -> io::Result<Option<File>> {
    let open_file = File::from(open.as_fd().try_clone_to_owned()?);
    let (ours, there) = (open_file.metadata()?, fs::symlink_metadata(path)?);
    let is_there = (ours.dev(), ours.ino()) == (there.dev(), there.ino());
    if ours.len() <= bytes_max || !is_there {
        return Ok(None);
    }
    fs::rename(path, second_name(path))?;
    self::open(path).map(Some)
}

/// Returns the name of the older file.
fn second_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_large_one_gets_the_second_name_and_the_one_before_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.log");
        let mut log = open(&path).unwrap();
        for text in ["first", "second", "third"] {
            log.write_all(text.as_bytes()).unwrap();
            assert!(next_of(&path, &log, 10).unwrap().is_none(), "{text}");
            log.write_all(b" and more").unwrap();
            log = next_of(&path, &log, 10).unwrap().unwrap();
            let older = fs::read_to_string(second_name(&path)).unwrap();
            assert_eq!(older, format!("{text} and more"));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn one_that_somebody_has_moved_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.log");
        let mut log = open(&path).unwrap();
        log.write_all(b"a long text").unwrap();
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        assert!(next_of(&path, &log, 3).is_err());
        fs::write(&path, "another one's").unwrap();
        assert!(next_of(&path, &log, 3).unwrap().is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), "another one's");
    }
}
