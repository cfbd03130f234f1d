//! The tables of a journal and their changes, in memory for tests and for the simulator.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::{Book, Damage, Found, Recovery};

/// A table. Its rows have one or two numbers as their key, and bytes.
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
    /// Prints of items that were accepted together, by the first of them.
    Print,
    /// One row: the tally.
    Tally,
    /// Attempts that are over and not shown, by item and attempt.
    Unshown,
}

impl Table {
    /// All tables, in the order in which they are read when a supervisor begins.
    pub const ALL: [Table; 8] = [
        Table::Tally,
        Table::Gone,
        Table::Failure,
        Table::Dead,
        Table::Loose,
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

/// Tables in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables(pub BTreeMap<(Table, Key), Vec<u8>>);

impl Tables {
    /// Makes this change. All changes of one write are one transaction.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Put { table, key, row } => {
                self.0.insert((*table, *key), row.clone());
            }
            Change::Drop { table, first, last } => {
                let keys = (*table, *first)..=(*table, *last);
                let dropped: Vec<_> = self.0.range(keys).map(|(key, _)| *key).collect();
                for key in dropped {
                    self.0.remove(&key);
                }
            }
        }
    }

    /// Recovers what these tables mean.
    ///
    /// # Errors
    /// The first fault in them.
    pub fn recover(&self) -> Result<(Book, Found), Damage> {
        let mut recovery = Recovery::default();
        for table in Table::ALL {
            let rows = self
                .0
                .range((table, (0, 0))..=(table, (u64::MAX, u64::MAX)));
            for ((_, key), row) in rows {
                recovery.read(table, *key, row)?;
            }
        }
        recovery.finish()
    }
}
