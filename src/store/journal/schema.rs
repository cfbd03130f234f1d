//! The book's tables in an SQLite file: versions, pragmas, and the set-up of a connection.
//!
//! | durability | `synchronous` | a commit |
//! | --- | --- | --- |
//! | full | `FULL` | is synced before it returns |
//! | normal | `NORMAL` | is in the kernel's hands; synced when the log is written into the file |
//!
//! New rows are in the log only until it is written into the file, and SQLite takes a file without
//! a log for the whole of it. So the file itself says whether it is in use ([`IN_USE`]): the mark
//! is written and brought into the file when it is opened, and taken away when it is closed. A file
//! that has the mark and no log was separated from it. So a log must exist from before the mark is
//! in the file until after it is gone: SQLite makes the log when it first reads in this mode, and
//! must not remove it by itself, which it would on closing ([`leave`]).
//!
//! Another program that has the file open and closes it last, after this one was killed or had to
//! give up, does what SQLite always does: it writes all of the log into the file, and removes the
//! log. So the log carries another number than the file ([`WHOLE`] instead of [`IN_USE`]). It comes
//! into the file with the rest of the log, and then the file is whole without a log. The log
//! carries [`IN_USE`] only while this program itself writes the log into the file ([`bring_in`]).

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::Durability;
use super::trouble::{FileTrouble, JournalTrouble};
use crate::fail;
use dishrack_core::book::Table;

/// The first four letters of the crate's name.
pub(super) const APPLICATION_ID: u32 = 0x6469_7368;

/// The version that this program writes. It rises when an older program could not read what is
/// written. [`since`] says what came with which.
const VERSION: u32 = 3;

/// Returns the format that has this table first.
fn since(table: Table) -> i64 {
    match table {
        Table::Unshown => 2,
        Table::Dropped => 3,
        Table::Batch
        | Table::Gone
        | Table::Failure
        | Table::Dead
        | Table::Loose
        | Table::Print
        | Table::Tally => 1,
    }
}

/// The mark beside the version while a supervisor uses the file, and after it was killed.
pub(super) const IN_USE: u32 = 1 << 16;

/// The mark in its place where all that was committed can be read, from the file and its log, or
/// from the file alone after another program has written the log into it.
pub(super) const WHOLE: u32 = 1 << 17;

const MARKS: i64 = (IN_USE | WHOLE) as i64;

/// The longest wait for a reader that holds the file.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The number of pages in the log at which it is written into the file.
pub(super) const LOG_PAGES: u32 = 4000;

/// The name of the command that the items are given to, in the table `meta`.
const COMMAND: &str = "command";

/// The facts that are kept once for all of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) item_type: String,
    pub(super) print_key: [u8; 16],
}

impl Meta {
    pub(super) fn new(item_type: &str) -> Result<Self, JournalTrouble> {
        let mut print_key = [0; 16];
        File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut print_key))
            .map_err(|error| FileTrouble::NoRandomness(error.to_string()))?;
        Ok(Meta {
            item_type: item_type.to_owned(),
            print_key,
        })
    }
}

/// Opens a connection that leaves the log in place when it ends; see [`leave`].
pub(super) fn connect(path: &Path, is_to_write: bool) -> Result<Connection, JournalTrouble> {
    let access = match is_to_write {
        true => OpenFlags::SQLITE_OPEN_READ_WRITE,
        false => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Opens a connection that reads only the file, and neither looks for a log nor makes one.
pub(super) fn connect_alone(path: &Path) -> Result<Connection, JournalTrouble> {
    // Escape the characters with a meaning in a URI (RFC 3986, 3).
    let mut uri = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").bytes()),
            _ => uri.push(*byte),
        }
    }
    uri.extend(b"?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let uri = OsStr::from_bytes(&uri);
    let connection = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Marks the file itself as in use: from now on it needs its log.
pub(super) fn begin_use(connection: &Connection) -> Result<(), JournalTrouble> {
    fail::point("journal: not in use");
    connection.pragma_update(None, "user_version", VERSION | IN_USE)?;
    fail::point("journal: in use, in its log");
    empty_log(connection)?;
    fail::point("journal: in use");
    connection.pragma_update(None, "user_version", VERSION | WHOLE)?;
    fail::point("journal: in use, and its log whole");
    Ok(())
}

/// Writes as much of the log into the file as readers permit. The file keeps its mark.
pub(super) fn bring_in(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", VERSION | IN_USE)?;
    fail::point("journal: about to take its log in");
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    fail::point("journal: has taken its log in");
    connection.pragma_update(None, "user_version", VERSION | WHOLE)
}

/// Writes everything into the file, without the mark.
pub(super) fn end_use(connection: &Connection) -> Result<(), JournalTrouble> {
    fail::point("journal: about to be closed");
    connection.pragma_update(None, "user_version", VERSION)?;
    fail::point("journal: closed, in its log");
    empty_log(connection)?;
    fail::point("journal: closed");
    Ok(())
}

/// Closes a writing connection, and removes the log if all of it is in a file without the mark.
pub(super) fn leave(connection: Connection) {
    let number = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    if number.is_ok_and(|number| number & MARKS == 0) {
        // If it fails, the log stays.
        let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    }
    let _ = connection.close();
}

/// Makes the tables of a new journal, all or none.
pub(super) fn create(connection: &mut Connection, meta: &Meta) -> Result<(), JournalTrouble> {
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    let transaction = connection.transaction()?;
    fail::point("journal: not begun");
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    fail::point("journal: being made");
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction
        .execute_batch("CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;")?;
    for table in Table::ALL {
        create_table(&transaction, table)?;
    }
    for (name, value) in [
        ("item_type", meta.item_type.as_bytes()),
        ("print_key", &meta.print_key),
    ] {
        let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2)";
        transaction.execute(sql, params![name, sealed(name, value)])?;
    }
    fail::point("journal: about to be there");
    transaction.commit()?;
    fail::point("journal: made");
    Ok(())
}

fn create_table(connection: &Connection, table: Table) -> Result<(), JournalTrouble> {
    let columns = match table.second_key() {
        Some(second) => format!(
            "(item INTEGER, {second} INTEGER, row BLOB, PRIMARY KEY (item, {second})) WITHOUT ROWID"
        ),
        None => "(item INTEGER PRIMARY KEY, row BLOB)".to_owned(),
    };
    let name = table.name();
    connection.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {name} {columns};"))?;
    Ok(())
}

/// Returns the tables of a journal of its format.
pub(super) fn tables(connection: &Connection) -> Result<Vec<Table>, JournalTrouble> {
    let version = version(connection)?;
    let tables = Table::ALL.into_iter();
    Ok(tables.filter(|table| since(*table) <= version).collect())
}

/// Makes the tables that an older format lacks. It is called after everything was read, and before
/// [`begin_use`], which writes the new version.
pub(super) fn upgrade(connection: &Connection) -> Result<(), JournalTrouble> {
    let version = version(connection)?;
    let tables = Table::ALL.into_iter();
    let mut missing = tables.filter(|table| since(*table) > version);
    missing.try_for_each(|table| create_table(connection, table))
}

fn version(connection: &Connection) -> Result<i64, JournalTrouble> {
    Ok(number(connection)? & !MARKS)
}

/// Returns `true` if a supervisor uses the file, or has not closed it.
pub(super) fn is_in_use(connection: &Connection) -> Result<bool, JournalTrouble> {
    Ok(number(connection)? & MARKS != 0)
}

fn number(connection: &Connection) -> Result<i64, JournalTrouble> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// Returns `true` if this file has no tables at all.
pub(super) fn is_bare(connection: &Connection) -> Result<bool, JournalTrouble> {
    let sql = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(tables == 0)
}

/// Checks that this is a journal, and one that this program can read.
pub(super) fn check_version(connection: &Connection) -> Result<(), JournalTrouble> {
    let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != i64::from(APPLICATION_ID) {
        return Err(JournalTrouble::Foreign);
    }
    let version = version(connection)?;
    if version > i64::from(VERSION) {
        return Err(JournalTrouble::Newer {
            format: version,
            known: VERSION,
        });
    }
    if version < 1 {
        return Err(JournalTrouble::Damaged(format!("its format is {version}")));
    }
    Ok(())
}

/// Sets the connection's durability, and brings the log into the file.
pub(super) fn prepare(
    connection: &Connection,
    durability: Durability,
) -> Result<(), JournalTrouble> {
    if connection.is_readonly("main")? {
        // SQLite would not say so before the first commit.
        return Err(JournalTrouble::Damaged(
            "its header forbids to write it".into(),
        ));
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(JournalTrouble::NoLog(mode));
    }
    connection.pragma_update(
        None,
        "synchronous",
        match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        },
    )?;
    // `bring_in` does it.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    empty_log(connection)
}

/// Writes the log into the file, as far as readers permit.
pub(super) fn empty_log(connection: &Connection) -> Result<(), JournalTrouble> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

/// Checks that the file's own structure is whole.
pub(super) fn check_structure(connection: &Connection) -> Result<(), JournalTrouble> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    match verdict.as_str() {
        "ok" => Ok(()),
        _ => Err(JournalTrouble::Damaged(verdict.replace('\n', " "))),
    }
}

pub(super) fn meta(connection: &Connection) -> Result<Meta, JournalTrouble> {
    let item_type = String::from_utf8(value(connection, "item_type")?);
    let print_key = value(connection, "print_key")?.try_into();
    match (item_type, print_key) {
        (Ok(item_type), Ok(print_key)) => Ok(Meta {
            item_type,
            print_key,
        }),
        _ => Err(JournalTrouble::Damaged("table meta is damaged".into())),
    }
}

/// Remembers the command that the items are given to, and returns the one before.
pub(super) fn exchange_command(
    connection: &Connection,
    command: &[u8],
) -> Result<Option<Vec<u8>>, JournalTrouble> {
    let earlier = match stored(connection, COMMAND)? {
        Some(_) => Some(value(connection, COMMAND)?),
        None => None,
    };
    if earlier.as_deref() != Some(command) {
        let sql = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
        connection.execute(sql, params![COMMAND, sealed(COMMAND, command)])?;
    }
    Ok(earlier)
}

fn stored(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, JournalTrouble> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    let found = connection.query_row(sql, [name], |row| row.get(0));
    Ok(found.optional()?)
}

fn value(connection: &Connection, name: &str) -> Result<Vec<u8>, JournalTrouble> {
    let mut value = stored(connection, name)?.unwrap_or_default();
    let sum = value.split_off(value.len().saturating_sub(4));
    match sealed(name, &value) == [&value[..], &sum].concat() {
        true => Ok(value),
        false => Err(JournalTrouble::Damaged(format!(
            "{name} in table meta is damaged"
        ))),
    }
}

/// Encodes a value with its checksum.
fn sealed(name: &str, value: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(value);
    [value, &hasher.finalize().to_le_bytes()].concat()
}
