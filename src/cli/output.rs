//! Files that a run writes next to its work: opened before anything is started, so that what cannot
//! be written is told at once, and never one of the run's other files.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rustix::fs::FlockOperation;

use super::screen;
use crate::observe::timeline::BEGINNING;
use crate::sys::descriptors::path_of;
use crate::sys::lock::{AFTERLIFE, take_in_time, try_lock};

/// How a chart begins, and what it is.
pub(super) const CHART: (&str, &str) = (BEGINNING, "a time chart by this program");

/// How a trace begins, and what it is: the names of threads and the like come as such values, and
/// those that are not known are passed over.
pub(super) const TRACE: (&str, &str) = (
    "[\n{\"ph\":\"M\",\"name\":\"made_by_dishrack\",",
    "a trace by this program",
);

/// A file that is written anew: a picture, a trace.
#[derive(Debug)]
pub(super) struct Output {
    option: &'static str,
    path: PathBuf,
    file: File,
    /// It was not there before.
    is_new: bool,
}

impl Output {
    /// Opens what the option names, if it names anything. What is in the file stays until
    /// [`begin`](Self::begin), and must be one like this, which begins so. The file becomes one of
    /// `taken`, which it must not be yet.
    pub(super) fn open(
        option: &'static str,
        path: Option<PathBuf>,
        (beginning, what): (&str, &str),
        taken: &mut Vec<PathBuf>,
    ) -> Result<Option<Self>, String> {
        let Some(path) = path else {
            return Ok(None);
        };
        let is_new = path.symlink_metadata().is_err();
        let mut how = OpenOptions::new();
        how.create(true).append(true);
        let file = open(option, &path, taken, &mut how)?;
        check_ours(option, (&path, &file), beginning, what)?;
        lock(option, (&path, &file))?;
        taken.push(path.clone());
        Ok(Some(Output {
            option,
            path,
            file,
            is_new,
        }))
    }

    /// The same file, for whoever writes it.
    pub(super) fn handle(&self) -> io::Result<Self> {
        Ok(Output {
            option: self.option,
            path: self.path.clone(),
            file: self.file.try_clone()?,
            is_new: self.is_new,
        })
    }

    /// Empties the file, where it is one.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        Ok(())
    }

    /// Says that and why it cannot be written.
    pub(super) fn complain(&self, error: &io::Error) {
        let path = self.path.display();
        screen::complain(&format_args!(
            "{} {path}: cannot be written: {error}",
            self.option
        ));
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Output {
    /// A run that drew nothing leaves no empty file.
    fn drop(&mut self) {
        let (file, path) = (self.file.metadata(), self.path.symlink_metadata());
        if let (true, Ok(file), Ok(path)) = (self.is_new, file, path)
            && file.is_file()
            && file.len() == 0
            && (file.dev(), file.ino()) == (path.dev(), path.ino())
        {
            // Where it stays, it does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Opens a file to add to: whoever rotates a log by emptying it (logrotate's copytruncate) finds it go
/// on at its new end. It is none of `others`, which are the run's own.
pub(super) fn open(
    option: &str,
    path: &Path,
    others: &[PathBuf],
    how: &mut OpenOptions,
) -> Result<File, String> {
    let unusable = |why: String| format!("{option} {}: {why}", path.display());
    if let Some(other) = others.iter().find(|other| is_within(path, other)) {
        return Err(unusable(format!(
            "the run itself uses this file, as {}: name another file",
            other.display()
        )));
    }
    // A named pipe that nobody reads is an error rather than a wait.
    let file = how
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(nix::libc::ENXIO) => unusable("nobody reads from this pipe".into()),
            _ => unusable(format!("cannot be written: {error}")),
        })?;
    let waits = fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND));
    waits.map_err(|error| unusable(format!("cannot be written: {error}")))?;
    check_open(&file, others).map_err(unusable)?;
    Ok(file)
}

/// Keeps other runs from writing the same file as long as it is open: each would write over what the
/// other has written.
pub(super) fn lock(option: &str, (path, file): (&Path, &File)) -> Result<(), String> {
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Ok(());
    }
    let alone = FlockOperation::NonBlockingLockExclusive;
    let take = || Ok(try_lock(file, alone)?.then_some(()));
    match take_in_time(|| AFTERLIFE, take) {
        Ok(None) => Err(format!(
            "{option} {}: another run is writing it: name another file",
            path.display()
        )),
        // Where there are no locks, nobody gets one.
        Ok(Some(())) | Err(_) => Ok(()),
    }
}

/// The same of the file that is open: a link may have led elsewhere a moment ago.
fn check_open(file: &File, others: &[PathBuf]) -> Result<(), String> {
    let id = file.metadata().map(|meta| (meta.dev(), meta.ino()));
    let is_it = |other: &&PathBuf| {
        let other = other.metadata().map(|meta| (meta.dev(), meta.ino()));
        matches!((&id, other), (Ok(one), Ok(other)) if *one == other)
    };
    if let Some(other) = others.iter().find(is_it) {
        return Err(format!(
            "the run itself uses this file, as {}: name another file",
            other.display()
        ));
    }
    match is_database(file) {
        true => Err("it is an SQLite file: name another one".into()),
        false => Ok(()),
    }
}

/// The file that is open to be written, open once more to be read: whatever its path leads to by now,
/// what is looked at is what is written. `None` where it is no regular file.
fn reader_of(file: &File) -> io::Result<Option<File>> {
    match file.metadata()?.is_file() {
        true => File::open(path_of(file)).map(Some),
        false => Ok(None),
    }
}

/// A run that was killed may have left half a line.
pub(super) fn end_torn_line(mut file: &File) -> io::Result<()> {
    match torn_line(file)?.is_empty() {
        true => Ok(()),
        false => file.write_all(b"\n"),
    }
}

/// Adds a line, all of it or nothing: half a line would be taken for the beginning of the next one.
pub(super) fn append(mut file: &File, line: &str) -> io::Result<()> {
    let meta = file.metadata()?;
    let written = file.write_all(line.as_bytes());
    if written.is_err() && meta.is_file() {
        file.set_len(meta.len())?;
    }
    written
}

/// What follows the last newline of a file.
pub(super) fn torn_line(file: &File) -> io::Result<Vec<u8>> {
    let Some(file) = reader_of(file)? else {
        return Ok(Vec::new());
    };
    let length = file.metadata()?.len();
    let (mut torn, mut end) = (Vec::new(), length);
    while end > 0 {
        let begin = end.saturating_sub(BLOCK_BYTES);
        let mut block = vec![0; usize::try_from(end - begin).unwrap_or(0)];
        file.read_exact_at(&mut block, begin)?;
        let newline = block.iter().rposition(|byte| *byte == b'\n');
        block.drain(..newline.map_or(0, |at| at + 1));
        torn.splice(..0, block);
        end = if newline.is_some() { 0 } else { begin };
    }
    Ok(torn)
}

/// Those of these lines that are not in a file; `key_of` tells what a line is known by.
pub(super) fn missing_lines(
    file: &File,
    mut lines: Vec<String>,
    key_of: impl Fn(&[u8]) -> &[u8],
) -> io::Result<Vec<String>> {
    if lines.is_empty() {
        return Ok(lines);
    }
    let Some(file) = reader_of(file)? else {
        return Ok(lines);
    };
    let rows = BufReader::new(file).split(b'\n');
    let keys = rows.map(|row| Ok(key_of(&row?).to_vec()));
    let there: HashSet<Vec<u8>> = keys.collect::<io::Result<_>>()?;
    lines.retain(|line| !there.contains(key_of(line.as_bytes())));
    Ok(lines)
}

/// So much of a file is looked through at once.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Whether a file that is to be written anew or added to is empty, or begins as this program's own do:
/// what somebody else has made is not replaced. `what` such a file is.
pub(super) fn check_ours(
    option: &str,
    (path, file): (&Path, &File),
    beginning: &str,
    what: &str,
) -> Result<(), String> {
    let unusable = |why: String| format!("{option} {}: {why}", path.display());
    let reader = reader_of(file).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    let Some(file) = reader else {
        return Ok(());
    };
    let mut found = Vec::new();
    let read = file.take(beginning.len() as u64).read_to_end(&mut found);
    read.map_err(|error| unusable(format!("cannot be read: {error}")))?;
    // A run that was killed may have left the first half of it.
    match beginning.as_bytes().starts_with(&found) {
        true => Ok(()),
        false => Err(unusable(format!(
            "it is there, and is not {what}: remove it, or name another file"
        ))),
    }
}

/// Whether both are one file, also where it is not there yet.
fn is_same(path: &Path, other: &Path) -> bool {
    let id = |path: &Path| path.metadata().map(|meta| (meta.dev(), meta.ino()));
    let place = |path: &Path| {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        Some((folder.canonicalize().ok()?, path.file_name()?.to_owned()))
    };
    path == other
        || matches!((id(path), id(other)), (Ok(one), Ok(two)) if one == two)
        || matches!((place(path), place(other)), (Some(one), Some(two)) if one == two)
}

/// Whether a path is this one, or in it, also where nothing is there yet.
pub(super) fn is_within(path: &Path, other: &Path) -> bool {
    path.ancestors()
        .filter(|one| *one != Path::new(""))
        .any(|one| is_same(one, other))
}

fn is_database(file: &File) -> bool {
    let mut magic = [0; 15];
    let Ok(Some(mut file)) = reader_of(file) else {
        return false;
    };
    file.read_exact(&mut magic).is_ok() && &magic == b"SQLite format 3"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Opened, and then its path leads to another file.
    #[test]
    fn what_is_checked_is_the_file_that_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("users"), "mine\nhalf").unwrap();
        let mut how = OpenOptions::new();
        how.write(true).append(true);
        let file = open("--x", &path("users"), &[], &mut how).unwrap();
        fs::rename(path("users"), path("moved")).unwrap();
        fs::write(path("users"), "ours, whole\n").unwrap();
        let checked = check_ours("--x", (&path("users"), &file), "ours", "ours");
        assert!(checked.unwrap_err().contains("is not ours"));
        assert_eq!(torn_line(&file).unwrap(), b"half");
        let lines = vec!["mine".into(), "ours, whole".into()];
        let missing = missing_lines(&file, lines, |line| line).unwrap();
        assert_eq!(missing, ["ours, whole"]);
    }

    #[test]
    fn a_database_and_the_runs_own_files_are_known_when_they_are_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("db"), "SQLite format 3\0 and so on").unwrap();
        fs::write(path("own"), "").unwrap();
        let file = |name: &str| OpenOptions::new().write(true).open(path(name)).unwrap();
        let db = file("db");
        fs::rename(path("db"), path("moved")).unwrap();
        assert!(check_open(&db, &[]).unwrap_err().contains("SQLite"));
        let own = file("own");
        let words = check_open(&own, &[path("own")]).unwrap_err();
        assert!(words.contains("name another file"), "{words}");
        assert_eq!(check_open(&own, &[path("moved")]), Ok(()));
    }
}
