//! A store in an SQLite file, by which accepted items and their ends outlive the supervisor.
//!
//! The [`book`](dishrack_core::book) decides which rows change; this module writes them, one
//! transaction for each write of the ledger. A file is trusted only if it is whole: its length,
//! SQLite's own structure, every row's checksum and the book's tally must agree. A file that fails
//! is an error that says what can be saved; it is never repaired in silence.
//!
//! After a failed commit this supervisor writes nothing more: the file is for the next one.

mod ahead;
mod file;
mod intrusion;
mod neighbours;
mod opening;
mod prints;
mod reader;
mod rows;
mod salvage;
mod schema;
mod trouble;

use std::ffi::c_int;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use self::ahead::Ahead;
use self::file::Claim;
use self::intrusion::{Files, FilesFound};
use self::prints::Prints;
use self::rows::Statements;
use self::trouble::{JournalFailure, JournalTrouble, unusable};
use super::{Backend, NotedPut, Store, StoreError, StoredLetter};
use crate::error::Kind;
use crate::payload::Payload;
use crate::payload::envelope::Envelope;
use dishrack_core::book::{Book, Change, Contradiction, Found, Print, Unshown};
use dishrack_core::ledger::{ItemId, Recovered, Write};

#[cfg(feature = "cli")]
pub(crate) use self::{
    neighbours::{names as own_files, own_path},
    reader::read_letters,
};
pub use salvage::Saved;
pub(crate) use salvage::salvage;

/// The size above which an item is refused. SQLite takes rows of a billion bytes
/// (`SQLITE_MAX_LENGTH`), of which the book needs a few.
const ITEM_BYTES_MAX: usize = 999_999_900;

/// The failures that a journal's promises withstand. With either level the file is never corrupt,
/// items are handed out and ends are told only after they were committed, and commits are shared:
/// writes that come during one commit go into the next.
///
/// | | `Full` | `Normal` |
/// | --- | --- | --- |
/// | a commit is | synced to the disk | in the kernel's hands |
/// | any process is killed, the supervisor too | nothing is lost | nothing is lost |
/// | power is cut, the kernel crashes | nothing is lost | the last commits may be lost, together: items put in them were never put, and items done in them are done again |
///
/// ```
/// use dishrack::{Durability, JoinableQueue, Options};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("jobs.journal");
/// let queue = JoinableQueue::<u32>::journaled(path, Durability::Normal, Options::default())?;
/// assert_eq!(queue.put(&7)?.0, 1); // Now no kill loses it.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Survives power loss: what was accepted or told is on the disk.
    #[default]
    Full,
    /// Survives the kill of any process. It is faster.
    Normal,
}

/// The text of which the journal's random key makes the identity, which tells the journal from all
/// others and nothing of the key.
const IDENTITY: &[u8] = b"identity of a journal";

/// The text of which the key makes the mark of its file, carried by the processes that work for it.
const MARK: &[u8] = b"processes of a journal";

/// The time between two checks that the file still has its mark. A lost mark is written again.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// A journal in use: the only one on its file.
pub(crate) struct Journal {
    path: PathBuf,
    prints: Mutex<Prints>,
    /// Attempts that earlier runs have not shown, until they are taken.
    unshown: Mutex<Vec<Unshown>>,
    writer: Mutex<JournalWriter>,
    was_left: bool,
    /// Dropped after the connection.
    claim: Mutex<Option<Claim>>,
}

/// The parts that are needed to write.
struct JournalWriter {
    /// `None` once it is closed.
    connection: Option<Connection>,
    statements: Statements,
    book: Book,
    files: Files,
    /// The number of pages in the log, and the number at which the log is written into the file.
    log_pages: Arc<AtomicU32>,
    log_pages_max: u32,
    /// Syncs the log while it grows; `None` where each commit is synced.
    ahead: Option<Ahead>,
    /// The time of the last check for the mark in the file.
    marked: Instant,
    /// The reason for which nothing more can be written.
    failure: Option<JournalFailure>,
    end: CloseMode,
}

/// The treatment of the files when the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CloseMode {
    /// The log is written into the file.
    InOrder,
    /// The log stays, as after a kill.
    AsKilled,
    /// The log stays, and the files are not even read.
    Untouched,
}

impl JournalWriter {
    /// Makes the writer, and counts the log's pages from now on.
    fn new(
        mut connection: Connection,
        book: Book,
        path: &Path,
        durability: Durability,
    ) -> Result<Self, JournalTrouble> {
        connection.set_prepared_statement_cache_capacity(Statements::COUNT);
        let log_pages = Arc::new(AtomicU32::new(0));
        let pages = Arc::clone(&log_pages);
        connection.wal_hook(Some(move |_: &mut _, count: c_int| {
            pages.store(u32::try_from(count).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(JournalWriter {
            connection: Some(connection),
            statements: Statements::new(),
            book,
            files: Files::of(path),
            log_pages,
            log_pages_max: schema::LOG_PAGES,
            ahead: match durability {
                Durability::Full => None,
                Durability::Normal => Some(Ahead::default()),
            },
            marked: Instant::now(),
            failure: None,
            end: CloseMode::InOrder,
        })
    }

    fn fail(&mut self, why: JournalFailure, end: CloseMode) -> JournalFailure {
        self.end = end;
        if end == CloseMode::Untouched
            && let Some(connection) = self.connection.take()
        {
            // The connection was opened so that the log stays. Later readers need another one.
            let _ = connection.close();
        }
        self.failure = Some(why.clone());
        why
    }

    /// Writes the log into the file if it has become long, or if another program has done so and
    /// the file does not say any more that it needs its log. A failure is tried again later.
    fn bring_in(&mut self, is_marked: impl FnOnce() -> bool) {
        let pages = self.log_pages.load(Ordering::Relaxed);
        let is_long = pages >= self.log_pages_max;
        if let Some(ahead) = self.ahead.as_mut().filter(|_| !is_long) {
            ahead.note(self.files.log(), pages);
        }
        let is_due = self.marked.elapsed() >= MARK_EVERY;
        if is_due {
            self.marked = Instant::now();
        }
        let Some(connection) = &self.connection else {
            return;
        };
        if (is_long || (is_due && !is_marked())) && schema::bring_in(connection).is_ok() {
            // This is more than the limit if a reader has kept the log from starting anew.
            self.log_pages_max = self.log_pages.load(Ordering::Relaxed) + schema::LOG_PAGES;
        }
    }
}

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
    /// Opens a journal, or makes one if there is no file.
    pub(crate) fn open(
        path: &Path,
        item_type: &str,
        durability: Durability,
    ) -> Result<(Self, Recovered<Envelope>), Kind> {
        Self::try_open(path, item_type, durability).map_err(|trouble| unusable(path, trouble))
    }

    fn try_open(
        path: &Path,
        item_type: &str,
        durability: Durability,
    ) -> Result<(Self, Recovered<Envelope>), JournalTrouble> {
        let claim = Claim::take(path)?;
        let opened = Self::try_connect(&claim, item_type, durability);
        let Opened {
            connection,
            key,
            book,
            found,
            was_left,
        } = match opened {
            Err(JournalTrouble::Damaged(why)) => {
                return Err(JournalTrouble::Damaged(salvage::prospect(
                    &claim, path, &why,
                )));
            }
            opened => opened?,
        };
        let writer = JournalWriter::new(connection, book, &claim.path, durability)?;
        let recovered = found
            .recovered
            .map_payloads(|bytes| Envelope::of(Payload::copy_of(&bytes)));
        let journal = Journal {
            path: path.to_owned(),
            prints: Mutex::new(Prints::new(key, found.prints)),
            unshown: Mutex::new(found.unshown),
            writer: Mutex::new(writer),
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
    ) -> Result<Opened, JournalTrouble> {
        if !claim.is_new()? {
            claim.check_header()?;
        }
        claim.check_neighbours()?;
        let mut connection = schema::connect(&claim.path, true)?;
        match opening::try_begin(claim, &mut connection, item_type, durability) {
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

    /// Returns `true` if its last supervisor did not close it, so its processes may still run.
    pub(crate) fn was_left(&self) -> bool {
        self.was_left
    }

    /// Writes nothing more, and leaves the file as if this process were killed, so that the next
    /// supervisor finds the present fault too.
    pub(crate) fn leave_in_use(&self, why: &str) {
        let left = || JournalFailure::Left(why.to_owned());
        self.writer().failure.get_or_insert_with(left);
    }

    fn writer(&self) -> MutexGuard<'_, JournalWriter> {
        self.writer.lock()
    }

    fn prints(&self) -> MutexGuard<'_, Prints> {
        self.prints.lock()
    }

    /// Writes the book's changes, all or nothing; after a failure nothing more is written.
    fn write(
        &self,
        writer: &mut JournalWriter,
        change: impl FnOnce(&mut Book) -> Result<Vec<Change>, Contradiction>,
    ) -> Result<(), JournalFailure> {
        if let Some(why) = &writer.failure {
            return Err(why.clone());
        }
        self.check_files(writer)?;
        let Some(connection) = &mut writer.connection else {
            return Err(JournalFailure::Closed(self.path.clone()));
        };
        let changes = change(&mut writer.book);
        let changes = changes.map_err(|Contradiction(why)| JournalFailure::Contradiction {
            path: self.path.clone(),
            why,
        });
        let result = changes.and_then(|changes| match changes.is_empty() {
            true => Ok(()),
            false => {
                let applied = writer.statements.apply(connection, &changes);
                applied.map_err(|error| self.unwritten(&error))
            }
        });
        match result {
            Ok(()) => {
                writer.bring_in(|| self.is_marked());
                writer.files.note();
                Ok(())
            }
            Err(why) => Err(writer.fail(why, CloseMode::AsKilled)),
        }
    }

    /// Checks that the files are as they were left.
    fn check_files(&self, writer: &mut JournalWriter) -> Result<(), JournalFailure> {
        let path = self.path.clone();
        let (why, end) = match writer.files.check_files() {
            FilesFound::Same => return Ok(()),
            FilesFound::Changed => match self.check_again(writer) {
                Ok(()) => return Ok(()),
                Err(why) => (why, CloseMode::Untouched),
            },
            // Wherever the file is now, it is whole then without its log. The log, which SQLite
            // leaves in its old place, is empty, and cannot be taken for that of another file.
            FilesFound::Removed(name) if name == writer.files.path() => {
                (JournalFailure::Removed(path), CloseMode::InOrder)
            }
            FilesFound::Removed(part) => (
                JournalFailure::PartRemoved { path, part },
                CloseMode::InOrder,
            ),
            FilesFound::IndexCut(part) => {
                (JournalFailure::PartCut { path, part }, CloseMode::Untouched)
            }
        };
        Err(writer.fail(why, end))
    }

    /// Reads all again after another program's change, and brings the log into a sound file.
    fn check_again(&self, writer: &mut JournalWriter) -> Result<(), JournalFailure> {
        // It gets a connection of its own, because this one has pages in memory.
        opening::verify(writer.files.path()).map_err(|trouble| JournalFailure::Damaged {
            path: self.path.clone(),
            why: trouble.into(),
        })?;
        if let Some(connection) = &writer.connection {
            let brought = schema::bring_in(connection);
            brought.map_err(|error| self.unwritten(&error))?;
        }
        writer.files.note();
        Ok(())
    }

    /// Returns `true` if the file itself says that it is in use, or there is no file.
    fn is_marked(&self) -> bool {
        let claim = self.claim.lock();
        claim.as_ref().is_none_or(Claim::is_marked)
    }

    fn unwritten(&self, error: &rusqlite::Error) -> JournalFailure {
        JournalFailure::Unwritten {
            path: self.path.clone(),
            why: trouble::words(error),
        }
    }

    /// Returns the first of the dead letters with these numbers, oldest first, at most this many;
    /// none when it is closed.
    fn letters(
        &self,
        writer: &mut JournalWriter,
        items: RangeInclusive<u64>,
        limit: u64,
    ) -> Result<Vec<StoredLetter>, JournalFailure> {
        if writer.failure.is_none() {
            self.check_files(writer)?;
        }
        let Some(connection) = &writer.connection else {
            return Ok(Vec::new());
        };
        reader::letters(connection, items, limit).map_err(|trouble| JournalFailure::Unread {
            path: self.path.clone(),
            why: trouble.into(),
        })
    }
}

impl Backend for Journal {
    fn item_bytes_max(&self) -> usize {
        ITEM_BYTES_MAX
    }

    fn dead_letters(&self) -> Result<Vec<StoredLetter>, StoreError> {
        Ok(self.letters(&mut self.writer(), rows::ALL, u64::MAX)?)
    }

    fn dead_page(&self, after: ItemId, limit: usize) -> Result<Vec<StoredLetter>, StoreError> {
        let numbers = after.0.saturating_add(1)..=u64::MAX;
        Ok(self.letters(&mut self.writer(), numbers, limit as u64)?)
    }

    fn given_up_among(&self, mut ids: Vec<ItemId>) -> Result<Vec<ItemId>, StoreError> {
        let writer = self.writer();
        ids.retain(|id| writer.book.is_given_up(*id));
        Ok(ids)
    }

    fn given_up(&self) -> Vec<ItemId> {
        self.writer().book.given_up().collect()
    }

    fn take_dead(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, StoreError> {
        let writer = &mut *self.writer();
        let mut letters = self.letters(writer, rows::ALL, u64::MAX)?;
        letters.retain(is_wanted);
        let ids: Vec<ItemId> = letters.iter().map(|letter| letter.id).collect();
        self.write(writer, |book| Ok(book.forget(&ids)))?;
        Ok(letters)
    }

    fn drop_dead(&self, id: ItemId) -> Result<bool, StoreError> {
        let mut writer = self.writer();
        let is_dead = writer.book.is_dead(id);
        if is_dead {
            self.write(&mut writer, |book| Ok(book.forget(&[id])))?;
        }
        Ok(is_dead)
    }

    fn revive(&self, id: ItemId) -> Result<Option<StoredLetter>, StoreError> {
        let mut writer = self.writer();
        if !writer.book.is_dead(id) {
            return Ok(None);
        }
        let found = self.letters(&mut writer, id.0..=id.0, 1)?.pop();
        let letter = found.ok_or_else(|| JournalFailure::Missing {
            path: self.path.clone(),
            item: id,
        })?;
        self.write(&mut writer, |book| {
            Ok(book.revive(id, &letter.payload).unwrap_or_default())
        })?;
        Ok(Some(letter))
    }

    /// Closes the journal so that one file is left, without a log. If that fails, the log stays.
    fn close(&self) -> Result<(), StoreError> {
        let writer = &mut *self.writer();
        writer.ahead = None;
        let has_ended = writer.failure.is_some() || writer.connection.is_none();
        let found = match has_ended {
            // The failure was reported.
            true => Ok(()),
            false => self.check_files(writer),
        };
        if matches!(writer.files.check_files(), FilesFound::IndexCut(_)) {
            writer.end = CloseMode::Untouched;
        }
        let _ = self.write(writer, |book| Ok(book.merge()));
        if let Some(connection) = writer.connection.take() {
            match writer.end {
                CloseMode::InOrder => {
                    let _ = schema::end_use(&connection);
                    schema::leave(connection);
                }
                CloseMode::AsKilled => schema::leave(connection),
                // The log stays because the connection was opened so.
                CloseMode::Untouched => drop(connection.close()),
            }
        }
        // From here on others may use the file.
        let mut claim = self.claim.lock();
        claim.take();
        Ok(found?)
    }
}

impl Store for Journal {
    fn commit(&self, write: Write<Envelope>) -> Result<(), StoreError> {
        Ok(self.write(&mut self.writer(), |book| book.changes(write.records))?)
    }

    fn was_put_before(&self, key: &[u8]) -> bool {
        let mut prints = self.prints();
        let print = prints.of(key);
        prints.take(print)
    }

    fn print_of(&self, key: &[u8]) -> Option<Print> {
        Some(self.prints().of(key))
    }

    fn put_with(&self, print: Print) -> Option<NotedPut> {
        self.prints().put_with(print)
    }

    fn note_put(&self, print: Print, put: NotedPut) {
        self.prints().note(print, put);
    }

    fn was_left(&self) -> bool {
        self.was_left
    }

    fn identity(&self) -> Option<u128> {
        Some(self.prints().of(IDENTITY))
    }

    fn process_mark(&self) -> Option<u128> {
        let claim = self.claim.lock();
        Some(process_mark(&self.prints(), claim.as_ref()?.id))
    }

    fn exchange_command(&self, command: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let writer = &mut *self.writer();
        self.check_files(writer)?;
        let Some(connection) = &writer.connection else {
            return Ok(None);
        };
        let exchanged = schema::exchange_command(connection, command);
        let earlier = exchanged.map_err(|trouble| JournalFailure::Command {
            path: self.path.clone(),
            why: trouble.into(),
        })?;
        writer.files.note();
        Ok(earlier)
    }

    fn take_unshown(&self) -> Vec<Unshown> {
        std::mem::take(&mut self.unshown.lock())
    }
}

impl From<JournalFailure> for StoreError {
    fn from(failure: JournalFailure) -> Self {
        StoreError::of(failure)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // There is no caller to report a failure to.
        let _ = self.close();
    }
}

/// Returns the mark on the processes that work for the journal with these prints in this file. A
/// copy is another journal, and must not end processes of the first one.
fn process_mark(prints: &Prints, (device, inode): (u64, u64)) -> u128 {
    prints.of(&[MARK, &device.to_le_bytes(), &inode.to_le_bytes()].concat())
}

fn check_item_type(kept: &str, wanted: &str) -> Result<(), JournalTrouble> {
    if kept == wanted {
        return Ok(());
    }
    Err(JournalTrouble::ItemType {
        kept: kept.to_owned(),
        wanted: wanted.to_owned(),
    })
}
