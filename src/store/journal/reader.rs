//! Reads dead letters from a journal, even while a supervisor uses it. It changes nothing.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::trouble::JournalTrouble;
use super::{check_item_type, file, rows, schema, unusable};
use crate::error::Kind;
use crate::store::StoredLetter;
use dishrack_core::book::{Table, failure_in, item_in};
use dishrack_core::ledger::ItemId;

/// Returns all dead letters, oldest first, of a journal that may be in use.
pub(crate) fn read_letters(
    path: &Path,
    item_types: &[&'static str],
) -> Result<(&'static str, Vec<StoredLetter>), Kind> {
    let letters = try_read(path, item_types);
    letters.map_err(|trouble| unusable(path, with_advice(path, trouble)))
}

fn with_advice(path: &Path, trouble: JournalTrouble) -> JournalTrouble {
    match trouble {
        JournalTrouble::Damaged(why) => JournalTrouble::Damaged(format!(
            "it is damaged ({why}): `supervisor salvage --journal {} --into NEW` makes a new journal \
             of what can be read",
            path.display()
        )),
        other => other,
    }
}

fn try_read(
    path: &Path,
    item_types: &[&'static str],
) -> Result<(&'static str, Vec<StoredLetter>), JournalTrouble> {
    let path = file::check_to_read(path)?;
    if let Some(state) = file::state_at_rest(&path) {
        // Everything is in the file, so SQLite need not make others beside it. Those would belong
        // to the reader's user, and be in the way of the journal's user.
        let read = schema::connect_alone(&path).and_then(|file| read(&file, item_types));
        if file::state_at_rest(&path) == Some(state) {
            return read;
        }
        // A supervisor has begun to use it.
    }
    read(&schema::connect(&path, false)?, item_types)
}

fn read(
    connection: &Connection,
    item_types: &[&'static str],
) -> Result<(&'static str, Vec<StoredLetter>), JournalTrouble> {
    schema::check_version(connection)?;
    let kept = schema::meta(connection)?.item_type;
    let known = item_types.iter().find(|item_type| **item_type == kept);
    let Some(item_type) = known.or(item_types.first()) else {
        return Ok(("", Vec::new()));
    };
    check_item_type(&kept, item_type)?;
    Ok((item_type, letters(connection, rows::ALL, u64::MAX)?))
}

/// Returns the first of the dead letters with these numbers, oldest first, at most this many.
pub(super) fn letters(
    connection: &Connection,
    items: RangeInclusive<u64>,
    limit: u64,
) -> Result<Vec<StoredLetter>, JournalTrouble> {
    // One transaction, so that a letter and its history are from the same moment.
    let snapshot = connection.unchecked_transaction()?;
    let mut letters = BTreeMap::new();
    rows::read_first(&snapshot, Table::Dead, items, limit, |key, row| {
        let letter = StoredLetter::new(ItemId(key.0), Arc::from(item_in(key, row)?), Vec::new());
        letters.insert(key.0, letter);
        Ok(())
    })?;
    let (Some((first, _)), Some((last, _))) = (letters.first_key_value(), letters.last_key_value())
    else {
        return Ok(Vec::new());
    };
    let items = *first..=*last;
    rows::read(&snapshot, Table::Failure, items, |key, row| {
        if let Some(letter) = letters.get_mut(&key.0) {
            letter.history.push(failure_in(key, row)?);
        }
        Ok(())
    })?;
    Ok(letters.into_values().collect())
}
