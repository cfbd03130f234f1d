//! Files that a run writes next to its work: opened before anything is started, so that what cannot
//! be written is told at once, and never one of the run's other files.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::printer;

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
        how.create(true).write(true).truncate(false);
        let file = open(option, &path, taken, &mut how, OFlag::empty())?;
        check_ours(option, &path, beginning, what)?;
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
            self.file.rewind()?;
        }
        Ok(())
    }

    /// Says that and why it cannot be written.
    pub(super) fn complain(&self, error: &io::Error) {
        let path = self.path.display();
        printer::complain(&format_args!(
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

/// Opens a file to write, with flags of its own. It is none of `others`, which are the run's own.
pub(super) fn open(
    option: &str,
    path: &Path,
    others: &[PathBuf],
    how: &mut OpenOptions,
    flags: OFlag,
) -> Result<File, String> {
    let unusable = |why: String| format!("{option} {}: {why}", path.display());
    if let Some(other) = others.iter().find(|other| is_within(path, other)) {
        return Err(unusable(format!(
            "it is what {} is: name another file",
            other.display()
        )));
    }
    if is_database(path) {
        return Err(unusable("it is an SQLite file: name another one".into()));
    }
    // A named pipe that nobody reads is an error rather than a wait.
    let file = how
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(nix::libc::ENXIO) => unusable("nobody reads from this pipe".into()),
            _ => unusable(format!("cannot be written: {error}")),
        })?;
    let waits = fcntl(&file, FcntlArg::F_SETFL(flags));
    waits.map_err(|error| unusable(format!("cannot be written: {error}")))?;
    Ok(file)
}

/// A run that was killed may have left half a line.
pub(super) fn end_torn_line(path: &Path, mut file: &File) -> io::Result<()> {
    match torn_line(path)?.is_empty() {
        true => Ok(()),
        false => file.write_all(b"\n"),
    }
}

/// What follows the last newline of a file.
pub(super) fn torn_line(path: &Path) -> io::Result<Vec<u8>> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let file = File::open(path)?;
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
    path: &Path,
    mut lines: Vec<String>,
    key_of: impl Fn(&[u8]) -> &[u8],
) -> io::Result<Vec<String>> {
    if lines.is_empty() || !path.is_file() {
        return Ok(lines);
    }
    let rows = BufReader::new(File::open(path)?).split(b'\n');
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
    path: &Path,
    beginning: &str,
    what: &str,
) -> Result<(), String> {
    let unusable = |why: String| format!("{option} {}: {why}", path.display());
    if !path.is_file() {
        return Ok(());
    }
    let mut found = Vec::new();
    let file = File::open(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
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

fn is_database(path: &Path) -> bool {
    let mut magic = [0; 15];
    path.is_file()
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && &magic == b"SQLite format 3"
}
