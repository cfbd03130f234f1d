//! Notices that another program has cut, overwritten or removed the files of a journal in use. It
//! knows their names, lengths and times, and nothing of their content.
//!
//! A writer checks the files first, and notes their state afterwards. A length or time other than
//! the noted one is another program's work, and then the files must be read again. Two changes stay
//! unseen: a write within a tick of the file system's clock after a commit (4 ms where it is not
//! finer, as it is since Linux 6.13), and a write into the index that keeps its length, because its
//! pages are mapped and writing to those sets no time.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::neighbours::beside;

/// The file system's data on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    /// Device and inode.
    id: (u64, u64),
    length: u64,
    /// The time of the last change, in seconds and nanoseconds.
    changed: (i64, i64),
}

/// The present state of the files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FilesFound {
    /// As it was noted.
    Same,
    /// Something was written to the file or its log, or cut from them.
    Changed,
    /// This file has lost its name; the open one is whole.
    Removed(PathBuf),
    /// The index was cut, so reading it would end in SIGBUS.
    IndexCut(PathBuf),
}

#[derive(Debug)]
pub(super) struct Files {
    file: PathBuf,
    log: PathBuf,
    index: PathBuf,
    /// The stamp of each file, when it was last noted.
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

    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Notes the present state of the files. Later differences are another program's work.
    pub(super) fn note(&mut self) {
        let stamps = self.names().map(|path| stamp(path).ok().flatten());
        if let [Some(file), Some(log), Some(index)] = stamps {
            self.noted = Some([file, log, index]);
        }
    }

    /// Compares the files with what was noted.
    pub(super) fn check_files(&self) -> FilesFound {
        let Some(noted) = &self.noted else {
            return FilesFound::Same;
        };
        let mut found = FilesFound::Same;
        for (at, path) in self.names().into_iter().enumerate() {
            let (then, is_index) = (noted[at], at == 2);
            match stamp(path) {
                Ok(Some(now)) if now.id == then.id => {
                    if is_index && now.length < then.length {
                        return FilesFound::IndexCut(path.clone());
                    }
                    let is_same = (now.length, now.changed) == (then.length, then.changed);
                    if !is_index && !is_same {
                        found = FilesFound::Changed;
                    }
                }
                Ok(_) => return FilesFound::Removed(path.clone()),
                // A file that cannot be examined may well exist.
                Err(()) => {}
            }
        }
        found
    }

    fn names(&self) -> [&PathBuf; 3] {
        [&self.file, &self.log, &self.index]
    }
}

/// Returns the stamp of a file, or `None` if it does not exist.
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
