//! Whether somebody else has changed the files of a journal that is used: cut, overwritten or removed
//! them. It knows their names, lengths and times, and nothing of what is in them.
//!
//! Who writes next looks first, and notes afterwards what the files are like. Another length or time
//! than was noted is of somebody else, and then what is in the files is to be read again. Not seen is
//! what is written within a tick of the file system's clock after a commit (4 ms where it does not
//! count finer, as it does since Linux 6.13), or into the index without another length: its pages are
//! mapped, and what is written to those has no time of its own.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::neighbours::beside;

/// What the file system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Device and inode.
    id: (u64, u64),
    length: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

/// What has become of the files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// What was noted.
    Same,
    /// Something was written to the file or its log, or taken from them.
    Changed,
    /// This one does not have its name any more; what is open of it is whole.
    Removed(PathBuf),
    /// The index was cut: who reads it is killed by SIGBUS.
    IndexCut(PathBuf),
}

/// A journal's files.
#[derive(Debug)]
pub(super) struct Files {
    file: PathBuf,
    log: PathBuf,
    index: PathBuf,
    /// That of each, when it was last noted.
    noted: Option<[Stamp; 3]>,
}

impl Files {
    pub(super) fn of(path: &Path) -> Self {
        Files {
            file: path.to_owned(),
            log: beside(path, "-wal"),
            index: beside(path, "-shm"),
            noted: None,
        }
    }

    /// The journal's own file.
    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    /// Remembers what they are like: what is different from now on is of somebody else.
    pub(super) fn note(&mut self) {
        let stamps = self.names().map(|path| stamp(path).ok().flatten());
        if let [Some(file), Some(log), Some(index)] = stamps {
            self.noted = Some([file, log, index]);
        }
    }

    /// Looks whether they are what was noted.
    pub(super) fn look(&self) -> Found {
        let Some(noted) = &self.noted else {
            return Found::Same;
        };
        let mut found = Found::Same;
        for (at, path) in self.names().into_iter().enumerate() {
            let (then, is_index) = (noted[at], at == 2);
            match stamp(path) {
                Ok(Some(now)) if now.id == then.id => {
                    if is_index && now.length < then.length {
                        return Found::IndexCut(path.clone());
                    }
                    let is_same = (now.length, now.changed) == (then.length, then.changed);
                    if !is_index && !is_same {
                        found = Found::Changed;
                    }
                }
                Ok(_) => return Found::Removed(path.clone()),
                // What cannot be looked at may well be there.
                Err(()) => {}
            }
        }
        found
    }

    fn names(&self) -> [&PathBuf; 3] {
        [&self.file, &self.log, &self.index]
    }
}

/// None where no such file is.
fn stamp(path: &Path) -> Result<Option<Stamp>, ()> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(Stamp {
            id: (meta.dev(), meta.ino()),
            length: meta.len(),
            changed: (meta.mtime(), meta.mtime_nsec()),
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(_) => Err(()),
    }
}
