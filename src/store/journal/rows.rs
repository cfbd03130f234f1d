//! The book's rows in SQLite: changes in, rows out. It knows the meaning of no row.

use std::ops::RangeInclusive;

use rusqlite::{Connection, Row, params};

use super::trouble::JournalTrouble;
use dishrack_core::book::{Change, Key, Table};

/// The texts of the statements that write, made once. SQLite keeps what it made of each of them with
/// the connection.
#[derive(Debug)]
pub(super) struct Statements {
    /// For each table, to put a row and to drop rows.
    of_tables: [(String, String); Table::ALL.len()],
}

impl Statements {
    pub(super) fn new() -> Self {
        Statements {
            of_tables: Table::ALL.map(|table| (put_sql(table), drop_sql(table))),
        }
    }

    /// The statements that one connection has prepared at a time.
    pub(super) const COUNT: usize = 2 * Table::ALL.len() + 8;

    fn put(
        &self,
        connection: &Connection,
        table: Table,
        (item, place): Key,
        row: &[u8],
    ) -> rusqlite::Result<()> {
        let mut put = connection.prepare_cached(&self.of(table).0)?;
        let (item, place) = (signed(item), signed(place));
        match table.second_key() {
            Some(_) => put.execute(params![item, row, place])?,
            None => put.execute(params![item, row])?,
        };
        Ok(())
    }

    fn drop(
        &self,
        connection: &Connection,
        table: Table,
        first: Key,
        last: Key,
    ) -> rusqlite::Result<()> {
        let mut drop = connection.prepare_cached(&self.of(table).1)?;
        let items = (signed(first.0), signed(last.0));
        match table.second_key() {
            Some(_) => drop.execute((items.0, items.1, signed(first.1), signed(last.1)))?,
            None => drop.execute(items)?,
        };
        Ok(())
    }

    fn of(&self, table: Table) -> &(String, String) {
        let place = Table::ALL.iter().position(|one| *one == table);
        &self.of_tables[place.unwrap_or_default()]
    }

    /// Makes all these changes in one transaction.
    pub(super) fn apply(
        &self,
        connection: &mut Connection,
        changes: &[Change],
    ) -> rusqlite::Result<()> {
        let transaction = Transaction::begin(connection)?;
        for change in changes {
            match change {
                Change::Put { table, key, row } => self.put(connection, *table, *key, row)?,
                Change::Drop { table, first, last } => {
                    self.drop(connection, *table, *first, *last)?;
                }
            }
        }
        crate::fail::point("commit: inside");
        transaction.commit()
    }
}

/// A transaction, which is rolled back unless it is committed. That of rusqlite has its statements
/// prepared each time.
struct Transaction<'a>(Option<&'a Connection>);

impl<'a> Transaction<'a> {
    fn begin(connection: &'a Connection) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Transaction(Some(connection)))
    }

    fn commit(mut self) -> rusqlite::Result<()> {
        if let Some(connection) = self.0 {
            connection.prepare_cached("COMMIT")?.execute([])?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            // After some errors SQLite has rolled back by itself.
            let _ = connection.execute_batch("ROLLBACK");
        }
    }
}

/// Makes all these changes of a new journal in one transaction.
pub(super) fn apply(connection: &mut Connection, changes: &[Change]) -> rusqlite::Result<()> {
    Statements::new().apply(connection, changes)
}

/// Converts a number; one that is too large for SQLite becomes larger than all keys.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn put_sql(table: Table) -> String {
    let name = table.name();
    match table.second_key() {
        Some(second) => {
            format!("INSERT OR REPLACE INTO {name} (item, row, {second}) VALUES (?1, ?2, ?3)")
        }
        None => format!("INSERT OR REPLACE INTO {name} (item, row) VALUES (?1, ?2)"),
    }
}

fn drop_sql(table: Table) -> String {
    let name = table.name();
    match table.second_key() {
        Some(second) => format!(
            "DELETE FROM {name} WHERE item BETWEEN ?1 AND ?2 \
             AND (item, {second}) BETWEEN (?1, ?3) AND (?2, ?4)"
        ),
        None => format!("DELETE FROM {name} WHERE item BETWEEN ?1 AND ?2"),
    }
}

fn columns(table: Table) -> String {
    format!("item, {}", table.second_key().unwrap_or("0"))
}

fn order(table: Table, direction: &str) -> String {
    match table.second_key() {
        Some(second) => format!("item {direction}, {second} {direction}"),
        None => format!("item {direction}"),
    }
}

fn key_of(row: &Row<'_>) -> Result<Key, JournalTrouble> {
    let number = |at| -> Result<u64, JournalTrouble> {
        let number: i64 = row.get(at)?;
        u64::try_from(number)
            .map_err(|_| JournalTrouble::Damaged(format!("a row has the key {number}")))
    };
    Ok((number(0)?, number(1)?))
}

pub(super) const ALL: RangeInclusive<u64> = 0..=u64::MAX;

/// Calls `read` with every row of these items, lowest key first.
pub(super) fn read(
    connection: &Connection,
    table: Table,
    items: RangeInclusive<u64>,
    read: impl FnMut(Key, &[u8]) -> Result<(), JournalTrouble>,
) -> Result<(), JournalTrouble> {
    read_first(connection, table, items, u64::MAX, read)
}

/// Does the same with the first of them, at most this many.
pub(super) fn read_first(
    connection: &Connection,
    table: Table,
    items: RangeInclusive<u64>,
    limit: u64,
    mut read: impl FnMut(Key, &[u8]) -> Result<(), JournalTrouble>,
) -> Result<(), JournalTrouble> {
    let (columns, name, order) = (columns(table), table.name(), order(table, "ASC"));
    let which = "item BETWEEN ?1 AND ?2";
    let sql = format!("SELECT {columns}, row FROM {name} WHERE {which} ORDER BY {order} LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    // Keys below zero are not the book's, and must be noticed.
    let first = if items == ALL {
        i64::MIN
    } else {
        signed(*items.start())
    };
    let mut rows = statement.query([first, signed(*items.end()), signed(limit)])?;
    while let Some(row) = rows.next()? {
        let bytes = row.get_ref(2)?.as_blob();
        let bytes = bytes.map_err(|error| JournalTrouble::Damaged(error.to_string()))?;
        read(key_of(row)?, bytes)?;
    }
    Ok(())
}

/// The keys of a table, as far as they can be read from either end.
#[derive(Debug, Default)]
pub(super) struct ReadableKeys {
    pub(super) keys: Vec<Key>,
    /// True if both walks came to the other end. If not, there may be keys that neither has seen.
    pub(super) is_whole: bool,
    /// The number of rows whose key is not the book's.
    pub(super) strays: u64,
}

pub(super) fn readable_keys(connection: &Connection, table: Table) -> ReadableKeys {
    let mut found = ReadableKeys::default();
    let ends = ["ASC", "DESC"].map(|direction| {
        found.strays = 0;
        keys_from(connection, table, direction, &mut found).is_ok()
    });
    found.is_whole = ends == [true, true];
    found.keys.sort_unstable();
    found.keys.dedup();
    found
}

fn keys_from(
    connection: &Connection,
    table: Table,
    direction: &str,
    found: &mut ReadableKeys,
) -> rusqlite::Result<()> {
    let (columns, name, order) = (columns(table), table.name(), order(table, direction));
    let sql = format!("SELECT {columns} FROM {name} ORDER BY {order}");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match key_of(row) {
            Ok(key) => found.keys.push(key),
            Err(_) => found.strays += 1,
        }
    }
    Ok(())
}

/// Returns one row, if it exists and can be read.
pub(super) fn readable(connection: &Connection, table: Table, key: Key) -> Option<Vec<u8>> {
    let (item, place) = (signed(key.0), signed(key.1));
    let get = |row: &Row<'_>| row.get(0);
    let name = table.name();
    if let Some(second) = table.second_key() {
        let sql = format!("SELECT row FROM {name} WHERE item = ?1 AND {second} = ?2");
        connection.query_row(&sql, [item, place], get).ok()
    } else {
        let sql = format!("SELECT row FROM {name} WHERE item = ?1");
        connection.query_row(&sql, [item], get).ok()
    }
}
