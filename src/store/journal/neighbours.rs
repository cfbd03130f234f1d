//! The files that SQLite keeps beside a journal, and the check that those which exist are SQLite's.
//!
//! SQLite overwrites or removes any file with their names. So before it opens a journal, each of
//! them must be one that SQLite itself could have left there: by its kind, by its first bytes, and
//! by the order in which SQLite makes and removes them. The module does not know their rows.
//!
//! | file | SQLite makes it | and removes it |
//! | --- | --- | --- |
//! | `-journal` | while the tables are made, next to the file | when they are there |
//! | `-wal` | when the tables are there | after `-shm` |
//! | `-shm` | after `-wal` | before `-wal` |
//!
//! So a missing journal has none of them, an empty one at most the first, and `-shm` needs `-wal`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::trouble::FileTrouble;

/// The suffixes to the journal's own name.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The beginning of a rollback journal once it counts (SQLite's file format, 3.1).
const ROLLBACK_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// The beginning of a write-ahead log, but for the last bit (SQLite's file format, 4.1).
const LOG_MAGIC: [u8; 4] = [0x37, 0x7f, 0x06, 0x82];

/// The first number of an index, in this machine's byte order (SQLite's WAL-mode file format, 2.1).
const INDEX_VERSION: u32 = 3_007_000;

/// The step in bytes by which an index grows, from three bytes or none before its first use.
const INDEX_STEP: u64 = 4096;

/// Returns the names of the files that belong to this journal, whether they exist or not.
pub(crate) fn names(journal: &Path) -> [PathBuf; 3] {
    let own = own_path(journal);
    SUFFIXES.map(|suffix| beside(&own, suffix))
}

/// Checks that no file has a name that SQLite would use beside a journal that does not exist yet.
pub(super) fn check_none(journal: &Path) -> Result<(), FileTrouble> {
    match names(journal)
        .into_iter()
        .find(|name| name.symlink_metadata().is_ok())
    {
        Some(name) => Err(FileTrouble::ForeignNeighbour(name)),
        None => Ok(()),
    }
}

/// Checks that the files beside an existing journal are SQLite's. `is_in_use` is what the journal
/// says of itself: if it is set, its log is a part of it, sound or not.
pub(super) fn check(journal: &Path, is_in_use: bool) -> Result<(), FileTrouble> {
    let is_empty = fs::metadata(journal).is_ok_and(|meta| meta.len() == 0);
    let [log, index, rollback] = SUFFIXES.map(|suffix| beside(journal, suffix));
    let is_rollback = |begin: &Begin| is_rollback_journal(begin);
    let is_log = |begin: &Begin| !is_empty && (is_in_use || is_log(begin));
    let is_index = |begin: &Begin| !is_empty && is_index(begin);
    check_one(&rollback, &is_rollback)?;
    check_one(&log, &is_log)?;
    check_one(&index, &is_index)?;
    // While others read the journal both come and go; but while there is one index there is a log.
    let identity = || {
        index
            .symlink_metadata()
            .map(|meta| (meta.dev(), meta.ino()))
    };
    let Ok(before) = identity() else {
        return Ok(());
    };
    let has_log = log.symlink_metadata().is_ok();
    match !has_log && identity().is_ok_and(|after| after == before) {
        true => Err(FileTrouble::ForeignNeighbour(index)),
        false => Ok(()),
    }
}

/// The length of a file, and its first bytes.
struct Begin {
    length: u64,
    bytes: Vec<u8>,
}

fn check_one(path: &Path, is_sqlites: &dyn Fn(&Begin) -> bool) -> Result<(), FileTrouble> {
    match begin_of(path) {
        Ok(Some(begin)) if is_sqlites(&begin) => Ok(()),
        Ok(_) => Err(FileTrouble::ForeignNeighbour(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // It is a link, which SQLite does not follow either.
        Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
            Err(FileTrouble::ForeignNeighbour(path.to_owned()))
        }
        Err(error) => Err(FileTrouble::UnreadableNeighbour {
            path: path.to_owned(),
            why: error.to_string(),
        }),
    }
}

/// Reads the beginning of a file; `None` if it is not a regular file.
fn begin_of(path: &Path) -> io::Result<Option<Begin>> {
    // Opening a named pipe must not wait.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut options = File::options();
    let file = options.read(true).custom_flags(flags.bits()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(None);
    }
    let mut bytes = vec![0; 28];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(Some(Begin {
        length: meta.len(),
        bytes,
    }))
}

/// Returns `true` for the beginning of a rollback journal. SQLite first writes the header at once,
/// with zeros in place of the magic. After a loss of power there may be zeros only.
fn is_rollback_journal(begin: &Begin) -> bool {
    let bytes = &begin.bytes;
    if bytes.iter().all(|byte| *byte == 0) {
        return true;
    }
    let is_size = |at: usize| {
        let size = bytes[at..at + 4].try_into().map(u32::from_be_bytes);
        size.is_ok_and(|size: u32| size.is_power_of_two() && size >= 32)
    };
    bytes.len() == 28
        && (bytes.starts_with(&ROLLBACK_MAGIC) || bytes.starts_with(&[0; 12]))
        && is_size(20)
        && is_size(24)
}

fn is_log(begin: &Begin) -> bool {
    let mut magic: Vec<u8> = begin.bytes.iter().copied().take(4).collect();
    if let [_, _, _, last] = &mut magic[..] {
        *last &= !1;
    }
    // It is zeros after a loss of power, and empty when all of it is in the file.
    magic == LOG_MAGIC || begin.bytes.iter().all(|byte| *byte == 0)
}

fn is_index(begin: &Begin) -> bool {
    let version = INDEX_VERSION.to_ne_bytes();
    let found = &begin.bytes[..begin.bytes.len().min(4)];
    let has_length = begin.length <= 3 || begin.length.is_multiple_of(INDEX_STEP);
    has_length && (version.starts_with(found) || found.iter().all(|byte| *byte == 0))
}

pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => ".".into(),
    }
}

/// The greatest number of links to a file, as in the kernel (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Returns a file's own path, without links, whether it exists or not.
pub(crate) fn own_path(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if let Ok(own) = fs::canonicalize(&path) {
            return own;
        }
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => break,
        }
    }
    match (fs::canonicalize(folder_of(&path)), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// Returns the path of the file that SQLite keeps next to this one.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(bytes: &[u8], length: u64) -> Begin {
        let bytes = bytes.iter().copied().take(28).collect();
        Begin { length, bytes }
    }

    #[test]
    fn what_sqlite_writes_is_known_and_text_is_not() {
        let text = b"text of somebody, and more of it";
        let of_text = begin(text, 8192);
        assert!(!is_index(&of_text) && !is_log(&of_text) && !is_rollback_journal(&of_text));
        let version = INDEX_VERSION.to_ne_bytes();
        assert!(is_index(&begin(&version, 32768)) && is_index(&begin(&version[..3], 3)));
        assert!(!is_index(&begin(&version, 9)) && !is_index(&begin(b"ab", 2)));
        assert!(is_log(&begin(&[0x37, 0x7f, 0x06, 0x83, 1], 5)));
        let mut header = [0; 28];
        header[12..16].copy_from_slice(b"salt");
        header[22] = 2;
        assert!(
            !is_rollback_journal(&begin(&header, 512)),
            "no page has no bytes"
        );
        header[26] = 16;
        assert!(is_rollback_journal(&begin(&header, 512)));
        assert!(!is_rollback_journal(&begin(&header[..20], 20)));
    }

    #[test]
    fn what_sqlite_leaves_at_any_moment_is_sqlites() {
        let folder = std::env::temp_dir().join(format!("dishrack-beside-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("file");
        let connection = rusqlite::Connection::open(&path).unwrap();
        let check = || check(&path, false).unwrap();
        check();
        connection
            .execute_batch("BEGIN IMMEDIATE; CREATE TABLE t (x);")
            .unwrap();
        assert!(beside(&path, "-journal").exists());
        check();
        connection
            .execute_batch("COMMIT; PRAGMA journal_mode = WAL; INSERT INTO t VALUES (1);")
            .unwrap();
        assert!(beside(&path, "-wal").exists() && beside(&path, "-shm").exists());
        check();
        connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .unwrap();
        check();
        drop(connection);
        check();
        fs::remove_dir_all(&folder).unwrap();
    }
}
