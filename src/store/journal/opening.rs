//! Reads all of a journal, and begins its use. It knows neither how it is written nor how it ends.

use std::path::Path;

use rusqlite::Connection;

use super::file::Claim;
use super::trouble::JournalTrouble;
use super::{Durability, check_item_type, rows, schema};
use dishrack_core::book::{Book, Found, Recovery};

/// Makes the tables if there are none, and reads all rows; from then on the file is in use.
pub(super) fn try_begin(
    claim: &Claim,
    connection: &mut Connection,
    item_type: &str,
    durability: Durability,
) -> Result<([u8; 16], Book, Found, bool), JournalTrouble> {
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

/// Checks that all content of a journal is sound.
pub(super) fn verify(path: &Path) -> Result<(), JournalTrouble> {
    let connection = schema::connect(path, false)?;
    schema::check_version(&connection).map_err(|trouble| match trouble {
        JournalTrouble::Foreign => {
            JournalTrouble::Damaged("its header is not that of a journal any more".to_owned())
        }
        other => other,
    })?;
    schema::check_structure(&connection)?;
    schema::meta(&connection)?;
    recover(&connection).map(drop)
}

/// Reads all rows, and fails on any that does not fit.
fn recover(connection: &Connection) -> Result<(Book, Found), JournalTrouble> {
    let mut recovery = Recovery::default();
    for table in schema::tables(connection)? {
        rows::read(connection, table, rows::ALL, |key, row| {
            Ok(recovery.read(table, key, row)?)
        })?;
    }
    Ok(recovery.finish()?)
}
