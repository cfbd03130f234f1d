//! The faults of a journal's file, in words that say what to do about them.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use rusqlite::ErrorCode;

use crate::error::Kind;
use dishrack_core::book::Damage;
use dishrack_core::ledger::ItemId;

/// A fault of a journal that is opened or read.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum JournalTrouble {
    /// Its content is not sound.
    #[error("{0}")]
    Damaged(String),
    /// It is another program's database.
    #[error("it is no journal, but an SQLite file of another program; name another file")]
    Foreign,
    #[error(
        "it was written by a newer version of this program (format {format}; this one knows formats up to \
         {known}): use that version"
    )]
    Newer { format: i64, known: u32 },
    #[error(
        "it keeps items of type {kept}, and this queue's are of type {wanted}: name another file"
    )]
    ItemType { kept: String, wanted: String },
    #[error("SQLite keeps no write-ahead log here, but {0}: choose a local file system")]
    NoLog(String),
    /// It cannot be used as a file.
    #[error(transparent)]
    File(#[from] FileTrouble),
    /// SQLite cannot use it.
    #[error("{0}")]
    Sqlite(String),
    /// It was opened, and cannot be written.
    #[error(transparent)]
    Write(#[from] JournalFailure),
    /// It must not be salvaged into this file, or cannot be.
    #[error("{0}")]
    NotSalvaged(String),
}

/// The reason why a file cannot be used as a journal, whatever is in it.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum FileTrouble {
    #[error("its folder {} does not exist: make it first", .0.display())]
    NoFolder(PathBuf),
    #[error("it is a folder: name a file in it")]
    IsFolder,
    #[error("it is not a regular file: name another one")]
    NotRegular,
    #[error(
        "it has another name (a hard link), and its log goes by the name: remove one of them, or name a \
         copy that was made while nobody used it"
    )]
    HardLink,
    #[error(
        "its folder {} cannot be written ({why}), and SQLite keeps two more files next to a journal: \
         make it writable, or choose another folder",
        .folder.display()
    )]
    FolderReadOnly { folder: PathBuf, why: Errno },
    #[error("its folder {} cannot be synced: {why}", .folder.display())]
    FolderUnsynced { folder: PathBuf, why: String },
    /// It has no header, and this log beside it has bytes.
    #[error(
        "it is empty, but {} is not: the file was truncated; restore it from a copy", .0.display()
    )]
    Truncated(PathBuf),
    #[error("there is nothing in it yet: the first run with it will make a journal of it")]
    Empty,
    #[error("it is no journal, not even an SQLite file: name another file")]
    NotSqlite,
    /// This process has it open, another one, or one that the kernel does not name.
    #[error("{}", in_use(*.0))]
    InUse(Option<u32>),
    #[error("cannot be locked ({0}): keep it on a local file system")]
    Unlockable(String),
    #[error("{0}")]
    Unopened(String),
    /// A file beside it has a name that SQLite would use, and is not SQLite's.
    #[error(
        "{} is there, and was not made for it, but SQLite would write over it or remove it: move it \
         away, or name another file",
        .0.display()
    )]
    ForeignNeighbour(PathBuf),
    #[error("{} cannot be read: {why}", .path.display())]
    UnreadableNeighbour { path: PathBuf, why: String },
    #[error("/dev/urandom cannot be read: {0}")]
    NoRandomness(String),
}

impl FileTrouble {
    pub(super) fn unopened(error: io::Error) -> Self {
        FileTrouble::Unopened(match error.kind() {
            ErrorKind::PermissionDenied => {
                format!("cannot be opened ({error}): it must be readable and writable")
            }
            ErrorKind::ReadOnlyFilesystem => {
                format!("cannot be written ({error}): choose a place that is writable")
            }
            ErrorKind::NotFound => "there is no such file".into(),
            _ => format!("cannot be opened: {error}"),
        })
    }
}

fn in_use(holder: Option<u32>) -> String {
    if holder == Some(std::process::id()) {
        return "this process has it open already: close that queue first, or name another file"
            .into();
    }
    let who = match holder {
        Some(pid) => format!("process {pid}"),
        None => "another process".into(),
    };
    format!("{who} is using it: wait for that to end, or name another file")
}

/// The reason why a journal that is in use is not used any more. It has the journal's path.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum JournalFailure {
    #[error("journal {} is closed", .0.display())]
    Closed(PathBuf),
    /// The ledger and the book do not agree: a bug.
    #[error("journal {}: {why}", .path.display())]
    Contradiction { path: PathBuf, why: String },
    #[error("journal {}: item {item} is missing", .path.display())]
    Missing { path: PathBuf, item: ItemId },
    #[error(
        "journal {} was removed or replaced while it was used: the next run with it will know nothing of \
         what was done in this one, unless the file is put back",
        .0.display()
    )]
    Removed(PathBuf),
    #[error(
        "journal {}: {}, which belongs to it, was removed or replaced while it was used; go on with the \
         same journal afterwards",
        .path.display(), .part.display()
    )]
    PartRemoved { path: PathBuf, part: PathBuf },
    #[error(
        "journal {}: {}, which belongs to it, was cut while it was used; what was committed is kept, go \
         on with the same journal afterwards",
        .path.display(), .part.display()
    )]
    PartCut { path: PathBuf, part: PathBuf },
    #[error(
        "journal {0} was cut or overwritten while it was used, and is damaged ({why}): `supervisor \
         salvage --journal {0} --into NEW` makes a new journal of what can be read",
        .path.display()
    )]
    Damaged {
        path: PathBuf,
        why: Box<JournalTrouble>,
    },
    #[error(
        "journal {} cannot be written: {why}; nothing that was accepted is lost, go on with the same \
         journal afterwards",
        .path.display()
    )]
    Unwritten { path: PathBuf, why: String },
    #[error("journal {} cannot be read: {why}", .path.display())]
    Unread {
        path: PathBuf,
        why: Box<JournalTrouble>,
    },
    #[error("journal {}: {why}", .path.display())]
    Command {
        path: PathBuf,
        why: Box<JournalTrouble>,
    },
    /// It was left as if this process were killed, for this reason.
    #[error("{0}")]
    Left(String),
}

impl From<Damage> for JournalTrouble {
    fn from(damage: Damage) -> Self {
        JournalTrouble::Damaged(damage.to_string())
    }
}

impl From<rusqlite::Error> for JournalTrouble {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                JournalTrouble::Damaged(error.to_string())
            }
            // Its tables, columns or values are not those that were made.
            None | Some(ErrorCode::Unknown) => JournalTrouble::Damaged(error.to_string()),
            Some(_) => JournalTrouble::Sqlite(words(&error)),
        }
    }
}

/// Returns SQLite's message, and what to do.
pub(super) fn words(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full: make room",
        Some(ErrorCode::SystemIoFailure) => {
            "the file cannot be read or written: look for a full disk, a limit on the size of \
             files, or a broken device"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "the file and its folder must be writable"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program keeps it locked: wait for that to end"
        }
        Some(ErrorCode::TooBig) => "an item is larger than SQLite takes",
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

/// Returns a fault of the journal at this path, as the program is told of it.
pub(super) fn unusable(path: &Path, trouble: JournalTrouble) -> Kind {
    let why = trouble.to_string();
    let path = path.display().to_string();
    Kind::JournalUnusable { path, why }
}
