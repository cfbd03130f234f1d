//! The book's rows in SQLite: changes in, rows out. It knows the meaning of no row.

use std::ops::RangeInclusive;

use rusqlite::{Connection, Row, params};

use super::trouble::JournalTrouble;
use dishrack_core::book::{Change, Key, Table};

/// Makes all these changes in one transaction.
pub(super) fn apply(connection: &mut Connection, changes: &[Change]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for change in changes {
        match change {
            Change::Put { table, key, row } => put(&transaction, *table, *key, row)?,
            Change::Drop { table, first, last } => drop(&transaction, *table, *first, *last)?,
        }
    }
    crate::fail::point("commit: inside");
    transaction.commit()
}

/// Converts a number; one that is too large for SQLite becomes larger than all keys.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn put(connection: &Connection, table: Table, key: Key, row: &[u8]) -> rusqlite::Result<()> {
    let name = table.name();
    let (item, place) = (signed(key.0), signed(key.1));
    if let Some(second) = table.second_key() {
        let sql =
            format!("INSERT OR REPLACE INTO {name} (item, {second}, row) VALUES (?1, ?2, ?3)");
        connection
            .prepare_cached(&sql)?
            .execute(params![item, place, row])?;
    } else {
        let sql = format!("INSERT OR REPLACE INTO {name} (item, row) VALUES (?1, ?2)");
        connection
            .prepare_cached(&sql)?
            .execute(params![item, row])?;
    }
    Ok(())
}

fn drop(connection: &Connection, table: Table, first: Key, last: Key) -> rusqlite::Result<()> {
    let name = table.name();
    if let Some(second) = table.second_key() {
        let sql = format!(
            "DELETE FROM {name} WHERE item BETWEEN ?1 AND ?3 \
             AND (item, {second}) BETWEEN (?1, ?2) AND (?3, ?4)"
        );
        connection.prepare_cached(&sql)?.execute(params![
            signed(first.0),
            signed(first.1),
            signed(last.0),
            signed(last.1)
        ])?;
    } else {
        let sql = format!("DELETE FROM {name} WHERE item BETWEEN ?1 AND ?2");
        connection
            .prepare_cached(&sql)?
            .execute(params![signed(first.0), signed(last.0)])?;
    }
    Ok(())
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
