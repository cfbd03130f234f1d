//! Where the output of commands lies until it is shown: a folder, with two files for each attempt.
//!
//! The worker writes, and the supervisor reads when the attempt is over; files that would be empty
//! are not there. Names are made of numbers only, so nothing need be told of them, and what an
//! attempt wrote before its worker was killed is found as well.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use rustix::fs::fstatvfs;
use rustix::process::geteuid;

use crate::ledger::ItemId;

/// One of a command's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(crate) const BOTH: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    folder: PathBuf,
}

impl Spool {
    pub(crate) fn at(folder: &Path) -> Self {
        Spool {
            folder: folder.to_owned(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of one stream of one attempt.
    pub(crate) fn path(&self, id: ItemId, attempt: u32, stream: Stream) -> PathBuf {
        self.folder
            .join(format!("{}.{attempt}.{}", id.0, stream.name()))
    }

    /// A new file for a stream. An attempt that did not count may have left one.
    pub(super) fn create(&self, id: ItemId, attempt: u32, stream: Stream) -> io::Result<File> {
        let path = self.path(id, attempt, stream);
        let create = || {
            OpenOptions::new()
                .read(true)
                .append(true)
                .create_new(true)
                // What a command writes is its owner's alone, until it is put where it was asked for.
                .mode(0o600)
                .open(&path)
        };
        match create() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                create()
            }
            result => result,
        }
    }

    /// Why an item fails whose output has no place.
    pub(super) fn complaint(&self, error: &io::Error) -> String {
        let folder = self.folder.display();
        format!("its output cannot be kept in {folder}: {error}")
    }

    /// What a stream's attempt wrote, if it wrote anything.
    pub(crate) fn open(
        &self,
        id: ItemId,
        attempt: u32,
        stream: Stream,
    ) -> io::Result<Option<File>> {
        let path = self.path(id, attempt, stream);
        let file = File::options()
            .read(true)
            // A link or a named pipe that somebody put there is no output, and nothing to wait for.
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(&path);
        match file {
            Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
            Ok(_) => {
                let path = path.display();
                Err(io::Error::other(format!("{path} is no file: remove it")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The attempts of which there are files.
    pub(crate) fn attempts(&self) -> BTreeSet<(ItemId, u32)> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = files.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| attempt_of(&name)).collect()
    }

    /// Whether a spool may have a file of this name.
    pub(crate) fn is_name(name: &str) -> bool {
        attempt_of(name).is_some()
    }

    /// Nobody needs it any more.
    pub(crate) fn remove(&self, id: ItemId, attempt: u32, stream: Stream) {
        // It may never have been there.
        let _ = fs::remove_file(self.path(id, attempt, stream));
    }
}

/// The attempt that a file of this name belongs to.
fn attempt_of(name: &str) -> Option<(ItemId, u32)> {
    let mut parts = name.split('.');
    let (id, attempt, stream) = (parts.next()?, parts.next()?, parts.next()?);
    let is_one = Stream::BOTH.iter().any(|one| one.name() == stream);
    let (id, attempt) = (ItemId(id.parse().ok()?), attempt.parse().ok()?);
    // No number is written in two ways.
    let is_exact = name == format!("{id}.{attempt}.{stream}");
    (is_one && is_exact).then_some((id, attempt))
}

/// Whether there is no room left where this file lies, for whoever may not use what is set aside.
pub(super) fn is_full(file: &File) -> bool {
    fstatvfs(file).is_ok_and(|stat| match geteuid().is_root() {
        true => stat.f_bfree == 0,
        false => stat.f_bavail == 0,
    })
}

/// The end of a file: at most this many bytes.
pub(super) fn tail(file: &File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(bytes_max);
    let mut tail = vec![0; usize::try_from(length - begin).unwrap_or(0)];
    file.read_exact_at(&mut tail, begin)?;
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_is_there_already_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::at(folder.path());
        let (id, stream) = (ItemId(3), Stream::Stdout);
        let mut first = spool.create(id, 1, stream).unwrap();
        first.write_all(b"first").unwrap();
        let mut second = spool.create(id, 1, stream).unwrap();
        second.write_all(b"second").unwrap();
        // Somebody who was left over still writes to it.
        first.write_all(b"first").unwrap();
        let path = spool.path(id, 1, stream);
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(tail(&second, 3).unwrap(), b"ond");
        spool.remove(id, 1, stream);
        assert!(spool.open(id, 1, stream).unwrap().is_none());
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::at(folder.path());
        let open = |id| spool.open(ItemId(id), 1, Stream::Stdout);
        let path = |id| spool.path(ItemId(id), 1, Stream::Stdout);
        nix::unistd::mkfifo(&path(1), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = open(1).unwrap_err().to_string();
        assert!(error.contains("1.1.stdout is no file"), "{error}");
        std::os::unix::fs::symlink("/etc/passwd", path(2)).unwrap();
        assert!(open(2).is_err());
    }
}
