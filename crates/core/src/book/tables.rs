//! The tables of a journal, and how they change. Where they are kept is for a store.

use alloc::vec::Vec;

/// The tables. Their rows have a number or two as their key, and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Items that were accepted together, by the first of them.
    Batch,
    /// Items that left their batches, by the number of the row.
    Gone,
    /// Failed attempts, by item and place.
    Failure,
    /// Dead letters, by item.
    Dead,
    /// Dead letters that are tried again, by item.
    Loose,
    /// Numbers of dead letters that were dropped, by the block of numbers.
    Dropped,
    /// Prints of items that were accepted together, by the first of them.
    Print,
    /// One row: the tally.
    Tally,
    /// Attempts that are over and not shown, by item and attempt.
    Unshown,
}

impl Table {
    /// All tables, in the order in which they are read when a supervisor begins.
    pub const ALL: [Table; 9] = [
        Table::Tally,
        Table::Gone,
        Table::Failure,
        Table::Dead,
        Table::Loose,
        Table::Dropped,
        Table::Batch,
        Table::Print,
        Table::Unshown,
    ];

    /// Returns its name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Table::Batch => "batch",
            Table::Gone => "gone",
            Table::Failure => "failure",
            Table::Dead => "dead",
            Table::Loose => "loose",
            Table::Dropped => "dropped",
            Table::Print => "print",
            Table::Tally => "tally",
            Table::Unshown => "unshown",
        }
    }

    /// Returns the name of its keys' second number, if they have one.
    #[must_use]
    pub fn second_key(self) -> Option<&'static str> {
        match self {
            Table::Failure => Some("place"),
            Table::Unshown => Some("attempt"),
            Table::Batch
            | Table::Gone
            | Table::Dead
            | Table::Loose
            | Table::Dropped
            | Table::Print
            | Table::Tally => None,
        }
    }
}

/// The key of a row. The second number is 0 where [`Table::second_key`] has no name for it.
pub type Key = (u64, u64);

/// One change of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes this row, in place of one with the same key.
    Put {
        /// Its table.
        table: Table,
        /// Its key.
        key: Key,
        /// Its bytes.
        row: Vec<u8>,
    },
    /// Removes the rows with these keys, if they exist.
    Drop {
        /// Their table.
        table: Table,
        /// The lowest key.
        first: Key,
        /// The highest key.
        last: Key,
    },
}
