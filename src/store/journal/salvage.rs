//! Reads as much as it can of a damaged journal, and makes a new journal of it.
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
use super::neighbours::beside;
use super::prints::Prints;
use super::schema::Meta;
use super::trouble::JournalTrouble;
use super::{neighbours, process_mark, rows, schema, unusable};
use crate::error::Error;
use dishrack_core::book::{Recovery, Salvaged, Table};
use dishrack_core::ledger::ItemId;

/// The numbers of what was saved, and what was not.
///
/// # Example
///
/// ```
/// use dishrack::{Durability, JoinableQueue, Options, salvage};
///
/// # let folder = tempfile::tempdir()?;
/// # let (old, new) = (folder.path().join("old"), folder.path().join("new"));
/// # let queue = JoinableQueue::<u32>::journaled(&old, Durability::Full, Options::default())?;
/// # queue.put_many(1..=3).into_result()?;
/// # queue.get()?.task_done()?;
/// # drop(queue);
/// let saved = salvage(&old, &new)?;
/// println!("{} items are left, {} are done", saved.unfinished, saved.done);
/// if saved.lost > 0 || !saved.incomplete.is_empty() {
///     println!("{} are lost; incomplete: {}", saved.lost, saved.incomplete.join(", "));
/// }
/// # assert_eq!((saved.unfinished, saved.done, saved.lost, saved.rows_lost), (2, 1, 0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Unfinished items in the new journal.
    pub unfinished: u64,
    /// Dead letters in the new journal.
    pub dead: u64,
    /// Items known to be done.
    pub done: u64,
    /// Items of which nothing is known: they count as dead, and the same input puts them again.
    pub lost: u64,
    /// Rows that could not be read or had wrong content.
    pub rows_lost: u64,
    /// The parts known to be incomplete, in words; empty if all could be read. How much is missing
    /// is not known.
    pub incomplete: Vec<&'static str>,
}

impl Saved {
    fn of(read: &ReadRows) -> Self {
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

struct ReadRows {
    meta: Meta,
    salvaged: Salvaged,
    rows_lost: u64,
    incomplete: Vec<&'static str>,
}

/// Returns the words for a table that is incomplete.
fn meaning(table: Table) -> &'static str {
    match table {
        Table::Tally => "how many items there were",
        Table::Gone => "which items are done (they are done again)",
        Table::Failure => "histories of failed attempts",
        Table::Dead => "dead letters",
        Table::Loose => "dead letters that were to be tried again",
        Table::Dropped => "which items were dead letters that were dropped",
        Table::Batch => "unfinished items",
        Table::Print => "keys of items (the same input is done again)",
        Table::Unshown => "how jobs ended whose output was not shown",
    }
}

/// Returns in words what is wrong with a file, and what can be saved.
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

/// Makes a new journal of what can be read of a damaged one, which stays as it is. First it gives
/// `end` the mark on the processes that work for the damaged one, and a test for items that may not
/// have ended. Later nothing would end those processes, because the new journal has another mark.
pub(crate) fn salvage<E: ToString>(
    path: &Path,
    into: &Path,
    end: impl FnOnce(u128, &dyn Fn(ItemId) -> bool) -> Result<(), E>,
) -> Result<Saved, Error> {
    let claim = Claim::take_to_read(path).map_err(|why| unusable(path, why.into()));
    let claim = claim.map_err(Error)?;
    if claim.is_of(into) {
        let why = "it is the damaged journal itself, which stays as it is: name a file that is not \
                   there";
        return Err(Error(unusable(
            into,
            JournalTrouble::NotSalvaged(why.into()),
        )));
    }
    let read = read(&claim).map_err(|trouble| Error(unusable(path, trouble)))?;
    let part = begin(into, &claim).map_err(|trouble| Error(unusable(into, trouble)))?;
    let mark = process_mark(&Prints::new(read.meta.print_key, Vec::new()), claim.id);
    end(mark, &|id| !read.salvaged.has_ended(id.0))
        .map_err(|why| Error(unusable(path, JournalTrouble::NotSalvaged(why.to_string()))))?;
    write(into, &part, &read).map_err(|trouble| Error(unusable(into, trouble)))?;
    Ok(Saved::of(&read))
}

fn read(claim: &Claim) -> Result<ReadRows, JournalTrouble> {
    claim.check_magic()?;
    claim.check_neighbours()?;
    // SQLite would make a missing log, and the file would look whole.
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
    Ok(ReadRows {
        meta,
        salvaged: recovery.salvage(),
        rows_lost,
        incomplete,
    })
}

/// Reads all rows. Returns them, the number of bad ones, and the tables that are incomplete.
fn read_rows(connection: &Connection) -> (Recovery, u64, BTreeSet<Table>) {
    let mut recovery = Recovery::for_salvage();
    let (mut rows_lost, mut torn) = (0, BTreeSet::new());
    // Try all tables, if the version that says which there are cannot be read.
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

/// The new journal under another name until it is whole, because half of what was saved must not
/// look like all of it. No file had this name or those of SQLite's files beside it, so a file under
/// them is ours, and is removed with this.
struct PartialJournal(PathBuf);

impl Drop for PartialJournal {
    fn drop(&mut self) {
        // If they stay, the next salvage says so.
        let _ = fs::remove_file(beside(&self.0, "-journal"));
        let _ = fs::remove_file(&self.0);
    }
}

fn is_there() -> JournalTrouble {
    JournalTrouble::NotSalvaged("it is there already: name a file that is not".into())
}

/// Checks that the new journal may be made there, and makes its file.
fn begin(into: &Path, claim: &Claim) -> Result<PartialJournal, JournalTrouble> {
    if into.symlink_metadata().is_ok() {
        return Err(is_there());
    }
    if claim.is_neighbour(into) {
        let why = "SQLite keeps a part of the damaged journal under that name: name another file";
        return Err(JournalTrouble::NotSalvaged(why.into()));
    }
    let part = beside(into, ".part");
    for new in [into, &part] {
        neighbours::check_none(new)?;
    }
    let mut options = File::options();
    let made = options.write(true).create_new(true).mode(0o600).open(&part);
    made.map_err(|error| {
        let part = part.display();
        JournalTrouble::NotSalvaged(match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{part} is there, perhaps of an earlier salvage: remove it first")
            }
            _ => format!("{part} cannot be made: {error}"),
        })
    })?;
    Ok(PartialJournal(part))
}

fn write(
    into: &Path,
    PartialJournal(part): &PartialJournal,
    read: &ReadRows,
) -> Result<(), JournalTrouble> {
    let claim = Claim::take(part)?;
    claim.check_neighbours()?;
    let mut connection = schema::connect(&claim.path, true)?;
    schema::create(&mut connection, &read.meta)?;
    rows::apply(&mut connection, &read.salvaged.changes)?;
    schema::empty_log(&connection)?;
    drop(connection);
    // Unlike a rename, this does not replace a file that was made meanwhile.
    fs::hard_link(part, into).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => is_there(),
        _ => JournalTrouble::NotSalvaged(format!("cannot be made: {error}")),
    })?;
    fs::remove_file(part).map_err(|error| JournalTrouble::NotSalvaged(error.to_string()))?;
    claim.sync_folder()?;
    Ok(())
}
