//! What can be read of a damaged journal, and a new journal made of it.
//!
//! The damaged file is only read. Rows are found from both ends of each table and read one by one,
//! so that a damaged page costs the rows on it and no others.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::file::Claim;
use super::schema::Meta;
use super::trouble::Trouble;
use super::{rows, schema, unusable};
use crate::error::Error;
use crate::store::book::{Recovery, Salvaged, Table};

/// What was saved, and what was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Unfinished items that are in the new journal.
    pub unfinished: u64,
    /// Dead letters that are in the new journal.
    pub dead: u64,
    /// Items that are known to be done.
    pub done: u64,
    /// Items of which nothing is known: they count as dead, and the same input puts them again.
    pub lost: u64,
    /// Rows that could not be read or believed.
    pub rows_lost: u64,
    /// What is known not to be all there, in plain words; nothing, if all of the journal could be
    /// read. Nobody knows how much more of it there was.
    pub incomplete: Vec<&'static str>,
}

impl Saved {
    fn of(read: &Read) -> Self {
        let salvaged = &read.salvaged;
        Saved {
            unfinished: salvaged.unfinished,
            dead: salvaged.dead,
            done: salvaged.done,
            lost: salvaged.lost,
            rows_lost: read.rows_lost,
            incomplete: read.incomplete.clone(),
        }
    }
}

/// What could be read.
struct Read {
    meta: Meta,
    salvaged: Salvaged,
    rows_lost: u64,
    incomplete: Vec<&'static str>,
}

/// What it means that not all of a table is there.
fn meaning(table: Table) -> &'static str {
    match table {
        Table::Tally => "how many items there were",
        Table::Gone => "which items are done (they are done again)",
        Table::Failure => "histories of failed attempts",
        Table::Dead => "dead letters",
        Table::Loose => "dead letters that were to be tried again",
        Table::Batch => "unfinished items",
        Table::Print => "keys of items (the same input is done again)",
        Table::Unshown => "how jobs ended whose output was not shown",
    }
}

/// Says what is wrong with a file, and what can be saved.
pub(super) fn prospect(claim: &Claim, path: &Path, why: &str) -> String {
    let Ok(read) = read(claim) else {
        return format!("it is damaged ({why}), and nothing in it can be read: restore a copy");
    };
    let Salvaged {
        unfinished,
        dead,
        lost,
        ..
    } = read.salvaged;
    let incomplete = match read.incomplete.is_empty() {
        true => String::new(),
        false => format!("not all is there of: {}; ", read.incomplete.join(", ")),
    };
    format!(
        "it is damaged ({why}). {unfinished} unfinished items and {dead} dead letters can be saved, \
         of {lost} items nothing is known; {incomplete}`supervisor salvage --journal {} --into NEW` makes a new \
         journal of it",
        path.display()
    )
}

/// Makes a new journal of what can be read of a damaged one, which stays as it is. The library's
/// `supervisor salvage`.
///
/// What is not known to be done is unfinished in the new journal, and is done again rather than
/// lost. An item of which nothing is left counts as dead.
///
/// # Errors
/// `is_journal` when the damaged file cannot be read at all, or the new one is there already or
/// cannot be written.
///
/// # Example
///
/// ```
/// use dishrack::{Durability, JoinableQueue, Options, salvage};
///
/// let folder = tempfile::tempdir()?;
/// let (old, new) = (folder.path().join("old"), folder.path().join("new"));
/// let queue = JoinableQueue::journaled(&old, Durability::Full, Options::default())?;
/// queue.put(&"wash".to_owned())?;
/// drop(queue);
///
/// let saved = salvage(&old, &new)?;
/// assert_eq!((saved.unfinished, saved.lost), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn salvage(path: impl AsRef<Path>, into: impl AsRef<Path>) -> Result<Saved, Error> {
    let (path, into) = (path.as_ref(), into.as_ref());
    let claim = Claim::take_to_read(path).map_err(|why| unusable(path, why.into()));
    let claim = claim.map_err(Error)?;
    if claim.is_of(into) {
        let why = "it is the damaged journal itself, which stays as it is: name a file that is not \
                   there";
        return Err(Error(unusable(into, Trouble::Other(why.into()))));
    }
    let read = read(&claim).map_err(|trouble| Error(unusable(path, trouble)))?;
    write(into, &read).map_err(|trouble| Error(unusable(into, trouble)))?;
    Ok(Saved::of(&read))
}

fn read(claim: &Claim) -> Result<Read, Trouble> {
    claim.check_magic()?;
    // With a log that is not there SQLite would make one, and the file would look whole.
    let connection = match claim.is_alone() {
        true => schema::connect_alone(&claim.path)?,
        false => schema::connect(&claim.path, false)?,
    };
    // Without this, SQLite reads nothing of a file that is too short.
    connection.pragma_update(None, "writable_schema", true)?;
    schema::check_version(&connection)?;
    let meta = schema::meta(&connection)?;
    let (recovery, rows_lost, tables) = read_rows(&connection);
    let mut incomplete: Vec<_> = tables.into_iter().map(meaning).collect();
    if claim.has_lost_log() {
        incomplete.push("what was in its log, which is missing");
    }
    Ok(Read {
        meta,
        salvaged: recovery.salvage(),
        rows_lost,
        incomplete,
    })
}

/// The rows that can be believed, how many cannot, and the tables of which not all is there.
fn read_rows(connection: &Connection) -> (Recovery, u64, BTreeSet<Table>) {
    let mut recovery = Recovery::for_salvage();
    let (mut rows_lost, mut torn) = (0, BTreeSet::new());
    // All of them, where it cannot be read which there are.
    let tables = schema::tables(connection).unwrap_or_else(|_| Table::ALL.to_vec());
    for table in tables {
        let found = rows::readable_keys(connection, table);
        rows_lost += found.strays;
        if !found.is_whole {
            torn.insert(table);
        }
        for key in found.keys {
            let row = rows::readable(connection, table, key);
            let is_read = row.is_some_and(|row| recovery.read(table, key, &row).is_ok());
            rows_lost += u64::from(!is_read);
        }
    }
    torn.extend(recovery.incomplete());
    (recovery, rows_lost, torn)
}

fn write(into: &Path, read: &Read) -> Result<(), Trouble> {
    let is_there = || Trouble::Other("it is there already: name a file that is not".into());
    if into.exists() {
        return Err(is_there());
    }
    // Under another name until it is whole: half of what was saved must not look like all of it.
    let mut name = into.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let mut options = File::options();
    let made = options.write(true).create_new(true).mode(0o600).open(&part);
    // It goes at the end, so it must be ours; what SQLite leaves beside it, too.
    made.map_err(|error| {
        let part = part.display();
        Trouble::Other(match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{part} is there, perhaps of an earlier salvage: remove it first")
            }
            _ => format!("{part} cannot be made: {error}"),
        })
    })?;
    let claim = Claim::take(&part)?;
    // A log that is there would be taken for its own.
    claim.is_new()?;
    let mut connection = schema::connect(&claim.path, true)?;
    schema::create(&mut connection, &read.meta)?;
    rows::apply(&mut connection, &read.salvaged.changes)?;
    schema::empty_log(&connection)?;
    drop(connection);
    // Unlike a rename, this does not replace what somebody has made meanwhile.
    fs::hard_link(&part, into).map_err(|_| is_there())?;
    fs::remove_file(&part).map_err(|error| Trouble::Other(error.to_string()))?;
    claim.sync_folder()?;
    Ok(())
}
