//! A store in an SQLite file: what a queue accepted and what became of it outlives its supervisor.
//!
//! Which rows change is the [`book`](super::book)'s business; here they are written, one
//! transaction for each write of the ledger. A file is believed only when it is whole: its length,
//! SQLite's own structure, every row's checksum and the book's tally must agree. What cannot be
//! believed is an error that says what can be saved; nothing is repaired in silence.
//!
//! After a failed commit nothing more is written by this supervisor: what is in the file is for the
//! next one.

mod file;
mod neighbours;
mod prints;
mod reader;
mod rows;
mod salvage;
mod schema;
mod trouble;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use self::file::Claim;
use self::prints::Prints;
use self::trouble::Trouble;
#[cfg(feature = "cli")]
use super::book::Unshown;
use super::book::{Book, Change, Found, Recovery};
use super::{Print, Store, StoredLetter};
use crate::broker::Parcel;
use crate::error::Kind;
use crate::ledger::{ItemId, Recovered, Write};
use crate::payload::Payload;

#[cfg(feature = "cli")]
pub(crate) use self::{file::own_path, neighbours::names as own_files, reader::read_letters};
pub use salvage::Saved;
pub(crate) use salvage::salvage;

/// SQLite takes rows of a billion bytes (`SQLITE_MAX_LENGTH`); a little of that is ours.
const ITEM_BYTES_MAX: usize = 999_999_900;

/// How much a journal's promises withstand. Whatever it is, the file is never corrupt, items are
/// handed out and ends are told only after they were committed, and commits are shared: what comes
/// while one is under way goes into the next.
///
/// | | `Full` | `Normal` |
/// | --- | --- | --- |
/// | a commit is | synced to the disk | in the kernel's hands |
/// | any process is killed, the supervisor too | nothing is lost | nothing is lost |
/// | power is cut, the kernel crashes | nothing is lost | the last commits may be lost, together: what was put in them was never put, and what was done in them is done again |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Survives power loss: what was accepted or told is on the disk.
    #[default]
    Full,
    /// Survives the kill of any process. For more speed.
    Normal,
}

/// What the journal's random key makes of this is its identity: it tells the journal from all others,
/// and nothing of the key.
#[cfg(feature = "cli")]
const IDENTITY: &[u8] = b"identity of a journal";

/// The same for its file, and what it makes of that is on the processes that work for it.
const MARK: &[u8] = b"processes of a journal";

/// So often is looked whether the file is still in its place: every commit if commits are rare, and
/// without cost if they are many.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A journal in use: the only one on its file.
pub(crate) struct Journal {
    path: PathBuf,
    prints: Mutex<Prints>,
    /// What earlier runs have not shown, until somebody asks for it.
    #[cfg(feature = "cli")]
    unshown: Mutex<Vec<Unshown>>,
    writer: Mutex<Writer>,
    was_left: bool,
    /// Ends after the connection.
    claim: Mutex<Option<Claim>>,
}

/// What is needed to write.
struct Writer {
    /// `None` once it is closed.
    connection: Option<Connection>,
    book: Book,
    /// When the file was last seen in its place.
    seen: Option<Instant>,
    /// The file is not in its place any more.
    is_displaced: bool,
    /// Why nothing more can be written.
    failure: Option<String>,
}

/// What was found in a file.
struct Opened {
    connection: Connection,
    key: [u8; 16],
    book: Book,
    found: Found,
    was_left: bool,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens a journal, or begins one where there is no file.
    pub(crate) fn open(
        path: &Path,
        item_type: &str,
        durability: Durability,
    ) -> Result<(Self, Recovered<Parcel>), Kind> {
        Self::try_open(path, item_type, durability).map_err(|trouble| unusable(path, trouble))
    }

    fn try_open(
        path: &Path,
        item_type: &str,
        durability: Durability,
    ) -> Result<(Self, Recovered<Parcel>), Trouble> {
        let claim = Claim::take(path)?;
        let opened = Self::try_connect(&claim, item_type, durability);
        let Opened {
            connection,
            key,
            book,
            found,
            was_left,
        } = match opened {
            Err(Trouble::Damaged(why)) => {
                return Err(Trouble::Damaged(salvage::prospect(&claim, path, &why)));
            }
            opened => opened?,
        };
        let recovered = found
            .recovered
            .map_payloads(|bytes| Parcel::of(Payload::copy_of(&bytes)));
        let journal = Journal {
            path: path.to_owned(),
            prints: Mutex::new(Prints::new(key, found.prints)),
            #[cfg(feature = "cli")]
            unshown: Mutex::new(found.unshown),
            writer: Mutex::new(Writer {
                connection: Some(connection),
                book,
                seen: None,
                is_displaced: false,
                failure: None,
            }),
            was_left,
            claim: Mutex::new(Some(claim)),
        };
        journal.write(&mut journal.writer(), |book| Ok(book.merge()))?;
        Ok((journal, recovered))
    }

    fn try_connect(
        claim: &Claim,
        item_type: &str,
        durability: Durability,
    ) -> Result<Opened, Trouble> {
        if !claim.is_new()? {
            claim.check_header()?;
        }
        claim.check_neighbours()?;
        let mut connection = schema::connect(&claim.path, true)?;
        match try_begin(claim, &mut connection, item_type, durability) {
            Ok((key, book, found, was_left)) => Ok(Opened {
                connection,
                key,
                book,
                found,
                was_left,
            }),
            Err(trouble) => {
                schema::leave(connection);
                Err(trouble)
            }
        }
    }

    /// Whether its last supervisor has not closed it: what that has started may still be there.
    pub(crate) fn was_left(&self) -> bool {
        self.was_left
    }

    /// Writes nothing more, and leaves the file as if this process were killed: what is wrong now is
    /// to be found wrong by the next one, too.
    pub(crate) fn leave_in_use(&self, why: &str) {
        self.writer().failure.get_or_insert_with(|| why.to_owned());
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prints(&self) -> MutexGuard<'_, Prints> {
        self.prints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what the book says, all or nothing; after a failure nothing more is written.
    fn write(
        &self,
        writer: &mut Writer,
        change: impl FnOnce(&mut Book) -> Result<Vec<Change>, String>,
    ) -> Result<(), String> {
        if let Some(why) = &writer.failure {
            return Err(why.clone());
        }
        let Some(connection) = &mut writer.connection else {
            return Err(format!("journal {} is closed", self.path.display()));
        };
        if writer.seen.is_none_or(|seen| seen.elapsed() > LOOK_EVERY) {
            if let Some(why) = self.displacement() {
                writer.is_displaced = true;
                writer.failure = Some(why.clone());
                return Err(why);
            }
            writer.seen = Some(Instant::now());
        }
        let changes = change(&mut writer.book);
        let changes = changes.map_err(|why| format!("journal {}: {why}", self.path.display()));
        let result = changes.and_then(|changes| match changes.is_empty() {
            true => Ok(()),
            false => rows::apply(connection, &changes).map_err(|error| self.complaint(&error)),
        });
        if let Err(why) = &result {
            writer.failure = Some(why.clone());
        }
        result
    }

    /// Whether the file is no longer where the next supervisor will look for it.
    fn displacement(&self) -> Option<String> {
        let claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        let is_displaced = claim.as_ref().is_some_and(|claim| !claim.is_in_place());
        is_displaced.then(|| {
            format!(
                "journal {} was removed or replaced while it was used: the next run with it will \
                 know nothing of what was done in this one, unless the file is put back",
                self.path.display()
            )
        })
    }

    fn complaint(&self, error: &rusqlite::Error) -> String {
        format!(
            "journal {} cannot be written: {}; nothing that was accepted is lost, go on with the \
             same journal afterwards",
            self.path.display(),
            trouble::words(error)
        )
    }

    /// All dead letters, oldest first, or one of them; none when it is closed.
    fn letters(&self, writer: &Writer, only: Option<ItemId>) -> Result<Vec<StoredLetter>, String> {
        let Some(connection) = &writer.connection else {
            return Ok(Vec::new());
        };
        reader::letters(connection, only).map_err(|trouble| {
            let (Trouble::Damaged(why) | Trouble::Other(why)) = trouble;
            format!("journal {} cannot be read: {why}", self.path.display())
        })
    }
}

impl Store for Journal {
    fn commit(&self, write: &Write<Parcel>) -> Result<(), String> {
        self.write(&mut self.writer(), |book| {
            let changes = book.changes(&write.records);
            changes.map_err(|contradiction| contradiction.0)
        })
    }

    fn item_bytes_max(&self) -> usize {
        ITEM_BYTES_MAX
    }

    fn keep_dead(&self, _letter: StoredLetter) {
        // It was committed before it was told.
    }

    fn dead_letters(&self) -> Result<Vec<StoredLetter>, String> {
        self.letters(&self.writer(), None)
    }

    fn take_dead(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, String> {
        let writer = &mut *self.writer();
        let mut letters = self.letters(writer, None)?;
        letters.retain(is_wanted);
        let ids: Vec<ItemId> = letters.iter().map(|letter| letter.id).collect();
        self.write(writer, |book| Ok(book.forget(&ids)))?;
        Ok(letters)
    }

    fn revive(&self, id: ItemId) -> Result<Option<StoredLetter>, String> {
        let mut writer = self.writer();
        if !writer.book.is_dead(id) {
            return Ok(None);
        }
        let found = self.letters(&writer, Some(id))?.pop();
        let letter = found
            .ok_or_else(|| format!("journal {}: item {id} is missing", self.path.display()))?;
        self.write(&mut writer, |book| {
            Ok(book.revive(id, &letter.payload).unwrap_or_default())
        })?;
        Ok(Some(letter))
    }

    /// Leaves one file behind, with no log next to it. Where that fails, the log stays.
    fn close(&self) {
        let writer = &mut *self.writer();
        writer.seen = None;
        let _ = self.write(writer, |book| Ok(book.merge()));
        if let Some(connection) = writer.connection.take() {
            // Wherever the file is now, it is whole without its log then; and the log, which SQLite
            // leaves in its old place, is empty, and cannot be taken for that of another file.
            if writer.failure.is_none() || writer.is_displaced {
                let _ = schema::end_use(&connection);
            }
            schema::leave(connection);
        }
        // From now on the file is for others.
        let mut claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        claim.take();
    }

    fn was_put_before(&self, key: &[u8]) -> bool {
        let mut prints = self.prints();
        let print = prints.of(key);
        prints.take(print)
    }

    fn print_of(&self, key: &[u8]) -> Option<Print> {
        Some(self.prints().of(key))
    }

    #[cfg(feature = "cli")]
    fn identity(&self) -> Option<u128> {
        Some(self.prints().of(IDENTITY))
    }

    fn process_mark(&self) -> Option<u128> {
        let claim = self.claim.lock().unwrap_or_else(PoisonError::into_inner);
        Some(process_mark(&self.prints(), claim.as_ref()?.id))
    }

    #[cfg(feature = "cli")]
    fn take_unshown(&self) -> Vec<Unshown> {
        std::mem::take(&mut self.unshown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

/// The mark on the processes that work for the journal with these prints in this file. A copy is
/// another journal, and must not end what works for the first one.
fn process_mark(prints: &Prints, (device, inode): (u64, u64)) -> u128 {
    prints.of(&[MARK, &device.to_le_bytes(), &inode.to_le_bytes()].concat())
}

fn unusable(path: &Path, trouble: Trouble) -> Kind {
    let (Trouble::Damaged(why) | Trouble::Other(why)) = trouble;
    let path = path.display().to_string();
    Kind::JournalUnusable { path, why }
}

fn check_item_type(kept: &str, wanted: &str) -> Result<(), Trouble> {
    if kept == wanted {
        return Ok(());
    }
    Err(Trouble::Other(format!(
        "it keeps items of type {kept}, and this queue's are of type {wanted}: name another file"
    )))
}

/// Makes the tables if there are none, and reads all that is there; from then on the file is in use.
fn try_begin(
    claim: &Claim,
    connection: &mut Connection,
    item_type: &str,
    durability: Durability,
) -> Result<([u8; 16], Book, Found, bool), Trouble> {
    if schema::is_bare(connection)? {
        schema::create(connection, &schema::Meta::new(item_type)?)?;
        claim.sync_folder()?;
    }
    schema::check_version(connection)?;
    let was_left = schema::is_in_use(connection)?;
    schema::prepare(connection, durability)?;
    claim.check_length()?;
    schema::check_structure(connection)?;
    let meta = schema::meta(connection)?;
    check_item_type(&meta.item_type, item_type)?;
    let (book, found) = recover(connection)?;
    schema::upgrade(connection)?;
    schema::begin_use(connection)?;
    Ok((meta.print_key, book, found, was_left))
}

/// Reads all rows and believes none that does not fit.
fn recover(connection: &Connection) -> Result<(Book, Found), Trouble> {
    let mut recovery = Recovery::default();
    for table in schema::tables(connection)? {
        rows::read(connection, table, rows::ALL, |key, row| {
            Ok(recovery.read(table, key, row)?)
        })?;
    }
    Ok(recovery.finish()?)
}
