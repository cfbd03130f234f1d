//! Files that a run writes next to its work. They are opened before anything is started, so that a
//! file that cannot be written is reported at once, and never is one of the run's other files.

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

/// The beginning of a chart, and a description of it.
pub(super) const CHART: (&str, &str) = (BEGINNING, "a time chart by this program");

/// The beginning of a trace, and a description of it. Readers skip unknown values like this one.
pub(super) const TRACE: (&str, &str) = (
    "[\n{\"ph\":\"M\",\"name\":\"made_by_dishrack\",",
    "a trace by this program",
);

/// A file that is written anew: a picture, a trace.
#[derive(Debug)]
pub(super) struct OutputFile {
    option: &'static str,
    path: PathBuf,
    file: File,
    /// True if the file was not there before.
    is_new: bool,
}

impl OutputFile {
    /// Opens the file that the option names, if it names one. The content stays until
    /// [`begin`](Self::begin), and must begin as given, so that no other file is overwritten. The
    /// file joins `taken`, and must not be there yet.
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
        Ok(Some(OutputFile {
            option,
            path,
            file,
            is_new,
        }))
    }

    /// Returns another handle of the same file, for its writer.
    pub(super) fn handle(&self) -> io::Result<Self> {
        Ok(OutputFile {
            option: self.option,
            path: self.path.clone(),
            file: self.file.try_clone()?,
            is_new: self.is_new,
        })
    }

    /// Empties the file, if it is a regular one.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        Ok(())
    }

    /// Reports that the file cannot be written, and the reason.
    pub(super) fn complain(&self, error: &io::Error) {
        let path = self.path.display();
        screen::complain(&format_args!(
            "{} {path}: cannot be written: {error}",
            self.option
        ));
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for OutputFile {
    /// Removes an empty new file, if the run drew nothing.
    fn drop(&mut self) {
        let (file, path) = (self.file.metadata(), self.path.symlink_metadata());
        if let (true, Ok(file), Ok(path)) = (self.is_new, file, path)
            && file.is_file()
            && file.len() == 0
            && (file.dev(), file.ino()) == (path.dev(), path.ino())
        {
            // A leftover does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Opens a file for appending, so that it goes on at its new end when a log rotation empties it
/// (logrotate's copytruncate). It must differ from `others`, the run's own files.
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
    // A named pipe without a reader is an error rather than a wait.
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

/// Keeps other runs from writing the same open file, because they would overwrite each other.
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
        // The file system has no locks.
        Ok(Some(())) | Err(_) => Ok(()),
    }
}

/// Checks the same for the open file, because a link may have led elsewhere a moment ago.
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

/// Opens the written file again for reading, by its descriptor, so that it is the same file even if
/// its path leads elsewhere by now. Returns `None` if it is no regular file.
fn reader_of(file: &File) -> io::Result<Option<File>> {
    match file.metadata()?.is_file() {
        true => File::open(path_of(file)).map(Some),
        false => Ok(None),
    }
}

/// Ends the half line that a killed run may have left.
pub(super) fn end_torn_line(mut file: &File) -> io::Result<()> {
    match torn_line(file)?.is_empty() {
        true => Ok(()),
        false => file.write_all(b"\n"),
    }
}

/// Adds a line, all of it or nothing, because the next line would continue a half one.
pub(super) fn append(mut file: &File, line: &str) -> io::Result<()> {
    let meta = file.metadata()?;
    let written = file.write_all(line.as_bytes());
    if written.is_err() && meta.is_file() {
        file.set_len(meta.len())?;
    }
    written
}

/// Returns the bytes after the last newline of a file.
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

/// Returns the lines that are not in a file. `key_of` makes the key by which lines are compared.
pub(super) fn missing_lines(
    file: &File,
    mut lines: Vec<String>,
    key_of: impl Fn(&[u8]) -> Vec<u8>,
) -> io::Result<Vec<String>> {
    if lines.is_empty() {
        return Ok(lines);
    }
    let Some(file) = reader_of(file)? else {
        return Ok(lines);
    };
    let rows = BufReader::new(file).split(b'\n');
    let keys = rows.map(|row| Ok(key_of(&row?)));
    let there: HashSet<Vec<u8>> = keys.collect::<io::Result<_>>()?;
    lines.retain(|line| !there.contains(&key_of(line.as_bytes())));
    Ok(lines)
}

/// The bytes of a file that are searched at once.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Checks that a file to be replaced or added to is empty, or begins as this program's own do, so
/// that no other file is overwritten. `what` describes such a file.
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
    // A killed run may have left the first half of it.
    match beginning.as_bytes().starts_with(&found) {
        true => Ok(()),
        false => Err(unusable(format!(
            "it is there, and is not {what}: remove it, or name another file"
        ))),
    }
}

/// Returns `true` if both paths lead to one file, even if it does not exist yet.
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

/// Returns `true` if a path is the other one, or in it, even if nothing exists yet.
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

    /// After the opening, the path leads to another file.
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
        let missing = missing_lines(&file, lines, <[u8]>::to_vec).unwrap();
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
