//! The faults of a journal's file, in words that say what to do about them.

use rusqlite::ErrorCode;

use dishrack_core::book::Damage;

#[derive(Debug)]
pub(super) enum JournalTrouble {
    /// Its content is not sound.
    Damaged(String),
    /// It is another program's database.
    Foreign,
    Other(String),
}

impl JournalTrouble {
    pub(super) fn into_words(self) -> String {
        match self {
            JournalTrouble::Damaged(why) | JournalTrouble::Other(why) => why,
            JournalTrouble::Foreign => {
                "it is no journal, but an SQLite file of another program; name another file".into()
            }
        }
    }
}

impl From<String> for JournalTrouble {
    fn from(why: String) -> Self {
        JournalTrouble::Other(why)
    }
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
            Some(_) => JournalTrouble::Other(words(&error)),
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
