//! The output of commands until it is shown: a folder with two files for each attempt, or with
//! logs.
//!
//! The worker writes, and the supervisor reads when the attempt is over. Names are made of numbers
//! only, so they need not be told, and the output of an attempt whose worker was killed is found as
//! well. Where several workers run one attempt, the process is one of the numbers. Where there are no logs, a command that was run leaves a file for its stdout, even an
//! empty one, so that a removed one is noticed. If the folder is removed, the next process that
//! needs it makes it again.
//!
//! Where nothing has to outlive the run, workers keep small output in logs instead (`capture`), and
//! have files of their own here, called by their process and the time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::OFlag;
use parking_lot::Mutex;
use rustix::fs::{StatVfs, fstatvfs, statvfs};
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::owned;
use crate::sys::clock::monotonic_ns;
use dishrack_core::ledger::ItemId;

/// One of a command's two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum OutputStream {
    Stdout,
    Stderr,
}

impl OutputStream {
    pub(crate) const BOTH: [OutputStream; 2] = [OutputStream::Stdout, OutputStream::Stderr];

    /// Returns this stream's part of a pair.
    pub(super) fn of<T>(self, [stdout, stderr]: &[T; 2]) -> &T {
        match self {
            OutputStream::Stdout => stdout,
            OutputStream::Stderr => stderr,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            OutputStream::Stdout => "stdout",
            OutputStream::Stderr => "stderr",
        }
    }
}

/// The use of a worker's own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileKind {
    Log,
    /// Its present command writes to it.
    Output(OutputStream),
}

impl FileKind {
    const ALL: [FileKind; 3] = [
        FileKind::Log,
        FileKind::Output(OutputStream::Stdout),
        FileKind::Output(OutputStream::Stderr),
    ];

    fn name(self) -> &'static str {
        match self {
            FileKind::Log => "log",
            FileKind::Output(stream) => stream.name(),
        }
    }
}

/// A worker's own file, which is no attempt's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkerFile {
    pub(crate) pid: u32,
    /// The time when it was begun: process numbers come again.
    pub(crate) begun_ns: u64,
    pub(crate) kind: FileKind,
}

impl WorkerFile {
    /// Makes a name for a new file of this process.
    pub(super) fn new(kind: FileKind) -> Self {
        WorkerFile {
            pid: std::process::id(),
            begun_ns: monotonic_ns(),
            kind,
        }
    }

    fn file_name(self) -> String {
        format!("w{}.{}.{}", self.pid, self.begun_ns, self.kind.name())
    }

    fn of_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix('w')?.split('.');
        let (pid, begun_ns, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let file = WorkerFile {
            pid: pid.parse().ok()?,
            begun_ns: begun_ns.parse().ok()?,
            kind: FileKind::ALL.into_iter().find(|one| one.name() == kind)?,
        };
        // No number is written in two ways.
        (name == file.file_name()).then_some(file)
    }
}

/// The folder of one run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Spool {
    /// The path as text or bytes, because a path that is no text would not serialize.
    folder: OsString,
    /// The content of its marker.
    mark: String,
    /// True if small output goes into logs.
    is_logged: bool,
    /// True if several workers may run one attempt, so that files have the number of the process.
    is_copied: bool,
}

/// One run of an item's command: that of an attempt, by a worker process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CommandRun {
    pub(crate) id: ItemId,
    pub(crate) attempt: u32,
    /// The worker's process.
    pub(crate) pid: u32,
}

/// The number of removals of the folder, while one file is made, that are taken for an accident.
const TIMES_MADE_AGAIN: usize = 16;

/// Shares of the locks on folders that this process has made again. They last as long as the
/// process; the run takes its own when it next looks.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

impl Spool {
    /// Returns the spool of a folder that was made with this marker.
    pub(crate) fn made(folder: &Path, mark: &str) -> Self {
        Spool {
            folder: folder.as_os_str().to_owned(),
            mark: mark.to_owned(),
            is_logged: false,
            is_copied: false,
        }
    }

    /// Lets several workers run one attempt, each with files of its own.
    pub(crate) fn copied(self) -> Self {
        Spool {
            is_copied: true,
            ..self
        }
    }

    /// Lets workers keep small output in logs, because nothing has to outlive the run, and nobody
    /// looks for the files of an attempt but who shows its output.
    pub(crate) fn logged(self) -> Self {
        Spool {
            is_logged: true,
            ..self
        }
    }

    pub(crate) fn is_logged(&self) -> bool {
        self.is_logged
    }

    pub(crate) fn is_copied(&self) -> bool {
        self.is_copied
    }

    /// Makes a removed folder again. Returns a share of the lock, or `None` if the folder exists
    /// again already, or there are no locks.
    pub(crate) fn make_again(&self) -> io::Result<Option<File>> {
        match owned::make(self.folder(), &self.mark) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            made => made,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        Path::new(&self.folder)
    }

    /// Returns the file of one stream of a run.
    pub(crate) fn path(&self, run: CommandRun, stream: OutputStream) -> PathBuf {
        self.path_of(run, self.is_copied, stream)
    }

    fn path_of(&self, run: CommandRun, is_copied: bool, stream: OutputStream) -> PathBuf {
        let pid = is_copied.then_some(run.pid);
        self.folder()
            .join(file_name(run.id, run.attempt, pid, stream))
    }

    /// Makes a new file for a stream. A removed folder is made again, several times if need be.
    pub(super) fn create(&self, run: CommandRun, stream: OutputStream) -> io::Result<File> {
        self.create_at(&self.path(run, stream))
    }

    /// Makes a new file of this worker's own, as [`create`](Self::create) does.
    pub(super) fn create_for_worker(&self, name: WorkerFile) -> io::Result<File> {
        self.create_at(&self.path_of_worker(name))
    }

    fn create_at(&self, path: &Path) -> io::Result<File> {
        let mut created = create(path);
        for _ in 0..TIMES_MADE_AGAIN {
            match &created {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                _ => break,
            }
            match self.make_again() {
                Ok(lock) => {
                    let mut held = HELD.lock();
                    held.extend(lock);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            created = create(path);
        }
        created
    }

    /// Returns the words for output that has no place.
    pub(super) fn complaint(&self, error: &io::Error) -> String {
        let folder = self.folder().display();
        format!("output cannot be kept in {folder}: {error}")
    }

    /// Returns when the names of all files are on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(self.folder())?.sync_all()
    }

    /// Opens the output of a stream, if there is any.
    pub(crate) fn open(&self, run: CommandRun, stream: OutputStream) -> io::Result<Option<File>> {
        let opened = self.open_measured(run, stream)?;
        Ok(opened.map(|(file, _)| file))
    }

    /// Opens the output of a stream, if there is any; and its length.
    pub(crate) fn open_measured(
        &self,
        run: CommandRun,
        stream: OutputStream,
    ) -> io::Result<Option<(File, u64)>> {
        match open(&self.path(run, stream))? {
            // An earlier run may have had copies where this one has none, or the other way round.
            None => open(&self.path_of(run, !self.is_copied, stream)),
            found => Ok(found),
        }
    }

    /// Opens a worker's own file, if it is there.
    pub(super) fn open_of_worker(&self, name: WorkerFile) -> io::Result<Option<File>> {
        let opened = open(&self.path_of_worker(name))?;
        Ok(opened.map(|(file, _)| file))
    }

    /// Opens the pair of files that a worker's present command writes to, as far as it is there.
    pub(crate) fn open_pair(&self, pid: u32) -> [Option<File>; 2] {
        let mut names = self.worker_files();
        names.retain(|name| name.pid == pid && name.kind != FileKind::Log);
        let newest = names.iter().map(|name| name.begun_ns).max();
        OutputStream::BOTH.map(|stream| {
            let is_it = |name: &&WorkerFile| {
                name.kind == FileKind::Output(stream) && Some(name.begun_ns) == newest
            };
            let name = names.iter().find(is_it)?;
            self.open_of_worker(*name).unwrap_or(None)
        })
    }

    /// Returns the workers' own files.
    pub(super) fn worker_files(&self) -> Vec<WorkerFile> {
        let names = self.names();
        names
            .filter_map(|name| WorkerFile::of_name(&name))
            .collect()
    }

    pub(super) fn path_of_worker(&self, name: WorkerFile) -> PathBuf {
        self.folder().join(name.file_name())
    }

    /// Gives the files that a dead worker's last command wrote to the attempt's own names.
    ///
    /// # Errors
    /// They cannot be renamed.
    pub(crate) fn adopt(&self, run: CommandRun) -> io::Result<()> {
        let mut names = self.worker_files();
        names.retain(|name| name.pid == run.pid);
        let newest = names.iter().map(|name| name.begun_ns).max();
        for name in names {
            match name.kind {
                FileKind::Log => {}
                FileKind::Output(stream) if newest == Some(name.begun_ns) => {
                    fs::rename(self.path_of_worker(name), self.path(run, stream))?;
                }
                // Another process with the same number was killed while it had no command.
                FileKind::Output(_) => self.remove_of_worker(name),
            }
        }
        Ok(())
    }

    /// Removes the files that a dead worker's last command wrote to, because nobody wants them.
    pub(crate) fn disown(&self, pid: u32) {
        let names = self.worker_files().into_iter();
        for name in names.filter(|name| name.pid == pid && name.kind != FileKind::Log) {
            self.remove_of_worker(name);
        }
    }

    /// Removes a worker's own file, which may be gone.
    pub(super) fn remove_of_worker(&self, name: WorkerFile) {
        let _ = fs::remove_file(self.path_of_worker(name));
    }

    /// Removes the files of all attempts but these, and of each of them those of other processes.
    pub(crate) fn keep_only(&self, runs: &BTreeSet<CommandRun>) {
        for name in self.names() {
            let Some((id, attempt, pid)) = attempt_of(&name) else {
                continue;
            };
            let first = CommandRun {
                id,
                attempt,
                pid: pid.unwrap_or(0),
            };
            let last = CommandRun {
                pid: pid.unwrap_or(u32::MAX),
                ..first
            };
            if runs.range(first..=last).next().is_none() {
                // It may be gone.
                let _ = fs::remove_file(self.folder().join(name));
            }
        }
    }

    /// Returns the attempts that have files: they were begun.
    pub(crate) fn attempts(&self) -> BTreeSet<(ItemId, u32)> {
        let names = self.names().filter_map(|name| attempt_of(&name));
        names.map(|(id, attempt, _)| (id, attempt)).collect()
    }

    fn names(&self) -> impl Iterator<Item = String> + use<> {
        let files = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        files.filter_map(|entry| entry.file_name().into_string().ok())
    }

    /// Returns `true` if a spool may have a file of this name.
    pub(crate) fn is_name(name: &str) -> bool {
        attempt_of(name).is_some() || WorkerFile::of_name(name).is_some()
    }

    /// Notes that there is no room, if there is none, before something is removed: a command that
    /// had none could not see that afterwards. The note is the marker's time. Returns the
    /// bytes that there is room for, if that is known.
    pub(crate) fn note_if_full(&self) -> Option<u64> {
        let found = statvfs(self.folder()).ok()?;
        if has_no_room(&found)
            && let Ok(marker) = File::options().write(true).open(self.marker())
        {
            // It takes no room. If it fails, a command may be blamed for the lack.
            let _ = marker.set_modified(SystemTime::now());
        }
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Returns the noted time of the last lack of room, to be compared only with other such times.
    pub(super) fn last_full(&self) -> Option<SystemTime> {
        self.marker()
            .metadata()
            .and_then(|meta| meta.modified())
            .ok()
    }

    fn marker(&self) -> PathBuf {
        self.folder().join(owned::MARKER)
    }

    /// Removes a file that is not needed any more.
    pub(crate) fn remove(&self, run: CommandRun, stream: OutputStream) {
        // It may never have existed.
        if fs::remove_file(self.path(run, stream)).is_err() {
            let _ = fs::remove_file(self.path_of(run, !self.is_copied, stream));
        }
    }
}

/// Opens a file, if there is one; and its length.
fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    let file = File::options()
        .read(true)
        // A link or a named pipe in its place is no output, and must not be waited for.
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path);
    match file {
        Ok(file) => match file.metadata()? {
            meta if meta.is_file() => Ok(Some((file, meta.len()))),
            _ => {
                let path = path.display();
                Err(io::Error::other(format!("{path} is no file: remove it")))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates a file, and replaces one left by an attempt that did not count.
fn create(path: &Path) -> io::Result<File> {
    let create = || {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            // Only its owner may read the output until it is put where it was asked for.
            .mode(0o600)
            .open(path)
    };
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()
        }
        result => result,
    }
}

fn file_name(id: ItemId, attempt: u32, pid: Option<u32>, stream: OutputStream) -> String {
    let stream = stream.name();
    match pid {
        None => format!("{id}.{attempt}.{stream}"),
        Some(pid) => format!("{id}.{attempt}.{pid}.{stream}"),
    }
}

/// Returns the attempt that a file of this name belongs to, and the process if the name has it.
fn attempt_of(name: &str) -> Option<(ItemId, u32, Option<u32>)> {
    let parts: Vec<&str> = name.split('.').collect();
    let (id, attempt, pid, stream) = match *parts.as_slice() {
        [id, attempt, stream] => (id, attempt, None, stream),
        [id, attempt, pid, stream] => (id, attempt, Some(pid.parse().ok()?), stream),
        _ => return None,
    };
    let stream = OutputStream::BOTH
        .into_iter()
        .find(|one| one.name() == stream)?;
    let (id, attempt) = (ItemId(id.parse().ok()?), attempt.parse().ok()?);
    // No number is written in two ways.
    (name == file_name(id, attempt, pid, stream)).then_some((id, attempt, pid))
}

/// Returns `true` if this file's system has no room left but what is reserved for others.
pub(super) fn is_full(file: &File) -> bool {
    fstatvfs(file).is_ok_and(|stat| has_no_room(&stat))
}

fn has_no_room(stat: &StatVfs) -> bool {
    // Root may use what is reserved. There is room for everybody nearly always.
    stat.f_bavail == 0 && (stat.f_bfree == 0 || !geteuid().is_root())
}

/// Returns the end of a file, at most this many bytes.
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

    /// The run of an attempt by this process.
    fn run(id: ItemId, attempt: u32) -> CommandRun {
        CommandRun {
            id,
            attempt,
            pid: std::process::id(),
        }
    }

    #[test]
    fn a_folder_that_was_removed_is_made_again_and_held() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("output");
        let spool = Spool::made(&folder, "somebody's\n");
        let create = |id| {
            spool
                .create(run(ItemId(id), 1), OutputStream::Stdout)
                .unwrap()
        };
        drop(spool.make_again().unwrap());
        create(1);
        fs::remove_dir_all(&folder).unwrap();
        create(2);
        create(3);
        assert_eq!(spool.attempts().len(), 2);
        let mark = owned::mark_of(&folder).unwrap();
        assert_eq!(mark.as_deref(), Some("somebody's\n"));
        assert!(owned::lock(&folder).unwrap().is_none());
    }

    #[test]
    fn only_the_files_of_these_runs_stay() {
        let folder = tempfile::tempdir().unwrap();
        let plain = Spool::made(folder.path(), "");
        let copied = plain.clone().copied();
        let of = |id, attempt, pid| CommandRun {
            id: ItemId(id),
            attempt,
            pid,
        };
        let write = |spool: &Spool, run| {
            let path = spool.path(run, OutputStream::Stderr);
            fs::write(&path, "x").unwrap();
            path
        };
        let kept = [
            write(&plain, of(1, 1, 7)),
            write(&plain, of(2, 2, 7)),
            write(&copied, of(4, 1, 8)),
            folder.path().join("notes.txt"),
        ];
        fs::write(&kept[3], "not ours").unwrap();
        let removed = [
            write(&plain, of(2, 1, 7)),
            write(&plain, of(3, 1, 7)),
            write(&copied, of(4, 1, 7)),
            write(&copied, of(4, 2, 8)),
        ];
        plain.keep_only(&[of(1, 1, 7), of(2, 2, 7), of(4, 1, 8)].into());
        assert!(kept.iter().all(|path| path.exists()), "{kept:?}");
        assert!(removed.iter().all(|path| !path.exists()), "{removed:?}");
        // A run without copies finds the output of one that had some.
        let found = plain.open(of(4, 1, 8), OutputStream::Stderr).unwrap();
        assert!(found.is_some());
        plain.remove(of(4, 1, 8), OutputStream::Stderr);
        assert!(!kept[2].exists());
    }

    #[test]
    fn a_file_that_is_there_already_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::made(folder.path(), "");
        let (id, stream) = (ItemId(3), OutputStream::Stdout);
        let mut first = spool.create(run(id, 1), stream).unwrap();
        first.write_all(b"first").unwrap();
        let mut second = spool.create(run(id, 1), stream).unwrap();
        second.write_all(b"second").unwrap();
        // A process that was left over still writes to it.
        first.write_all(b"first").unwrap();
        let path = spool.path(run(id, 1), stream);
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(tail(&second, 3).unwrap(), b"ond");
        spool.remove(run(id, 1), stream);
        assert!(spool.open(run(id, 1), stream).unwrap().is_none());
    }

    #[test]
    fn a_workers_file_is_known_by_its_name_and_is_no_attempts() {
        for kind in FileKind::ALL {
            let file = WorkerFile::new(kind);
            let name = file.file_name();
            assert_eq!(WorkerFile::of_name(&name), Some(file));
            assert!(Spool::is_name(&name) && attempt_of(&name).is_none());
        }
        for other in [
            "w1.2",
            "w01.2.log",
            "1.2.log",
            "w1.2.log.old",
            "w1.2.x",
            "w",
        ] {
            assert!(!Spool::is_name(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::made(folder.path(), "");
        let open = |id| spool.open(run(ItemId(id), 1), OutputStream::Stdout);
        let path = |id| spool.path(run(ItemId(id), 1), OutputStream::Stdout);
        nix::unistd::mkfifo(&path(1), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = open(1).unwrap_err().to_string();
        assert!(error.contains("1.1.stdout is no file"), "{error}");
        std::os::unix::fs::symlink("/etc/passwd", path(2)).unwrap();
        assert!(open(2).is_err());
    }

    #[test]
    fn what_a_killed_worker_left_gets_the_names_of_its_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::made(folder.path(), "");
        let id = ItemId(4);
        for text in ["old", "new"] {
            for stream in OutputStream::BOTH {
                let name = WorkerFile::new(FileKind::Output(stream));
                let mut file = spool.create_for_worker(name).unwrap();
                file.write_all(text.as_bytes()).unwrap();
            }
        }
        let names = spool.worker_files();
        let newest = names.iter().map(|name| name.begun_ns).max().unwrap();
        // Both streams of one worker are of one moment.
        for stream in OutputStream::BOTH {
            let of_stream = |name: &&WorkerFile| name.kind == FileKind::Output(stream);
            let last = names
                .iter()
                .filter(of_stream)
                .max_by_key(|name| name.begun_ns);
            let from = spool.path_of_worker(*last.unwrap());
            let to = WorkerFile {
                begun_ns: newest + 1,
                ..*last.unwrap()
            };
            fs::rename(from, spool.path_of_worker(to)).unwrap();
        }
        spool.adopt(run(id, 3)).unwrap();
        for stream in OutputStream::BOTH {
            assert_eq!(fs::read(spool.path(run(id, 3), stream)).unwrap(), b"new");
        }
        assert!(spool.worker_files().is_empty());
        // Nothing else is looked at.
        spool
            .adopt(CommandRun {
                pid: 1,
                ..run(id, 4)
            })
            .unwrap();
        assert!(
            OpenOptions::new()
                .read(true)
                .open(spool.path(run(id, 4), OutputStream::Stdout))
                .is_err()
        );
    }
}
