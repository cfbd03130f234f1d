//! A journal's tables in memory, for the tests of the book and for the simulator's disk.

use std::collections::BTreeMap;
use std::vec::Vec;

use dishrack_core::book::{Book, Change, Damage, Found, Key, Recovery, Table};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tables(pub(crate) BTreeMap<(Table, Key), Vec<u8>>);

impl Tables {
    /// Makes this change. All changes of one write are one transaction.
    pub(crate) fn apply(&mut self, change: &Change) {
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

    /// Reads the tables.
    ///
    /// # Errors
    /// The first damage in them.
    pub(crate) fn recover(&self) -> Result<(Book, Found), Damage> {
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
