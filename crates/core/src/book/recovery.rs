//! The meaning of a set of rows when a supervisor begins again, and the faults in it.
//!
//! Rows are read one by one. Their order is free, but for batches, which come after the rows that
//! say what has left them. A row that differs from what was written is an error and counts as
//! missing; a caller that salvages goes on reading. At the end every item ever accepted must be
//! found in one place, and every table must have as many rows as the tally says.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use hashbrown::HashMap;

use super::ranges::Ranges;
use super::tables::{Key, Table};
use super::tally::Tally;
use super::{BatchState, Book, codec, numbers_of};
use crate::book::Print;
use crate::ledger::{Attempt, Failure, ItemId, ItemRun, Items, Recovered, Unfinished};

/// A fault in a set of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// A row's bytes differ from what was written.
    Row {
        /// Its table.
        table: Table,
        /// Its key.
        key: Key,
    },
    /// An item is in two rows that exclude each other.
    Twice {
        /// The table of the second one.
        table: Table,
        /// The item.
        item: u64,
    },
    /// A row is about an item that was never accepted, or whose end it contradicts.
    Stray {
        /// The row's table.
        table: Table,
        /// The item.
        item: u64,
    },
    /// No row says what became of accepted items.
    Missing {
        /// The first of them.
        first: u64,
        /// The last of the first ones that follow each other.
        last: u64,
    },
    /// A table has more or fewer rows than it must have.
    Count {
        /// The table.
        table: Table,
        /// The number of rows found.
        found: u64,
        /// The number of rows that the tally demands.
        expected: u64,
    },
    /// There are rows, and no tally of them.
    NoTally,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Row { table, key } => {
                write!(f, "row {} of table {} is damaged", key.0, table.name())
            }
            Damage::Twice { table, item } => {
                write!(f, "item {item} is in table {} once too often", table.name())
            }
            Damage::Stray { table, item } => {
                let table = table.name();
                write!(f, "table {table} names item {item}, which cannot be there")
            }
            Damage::Missing { first, last } => {
                write!(f, "no row tells what became of items {first} to {last}")
            }
            Damage::Count {
                table,
                found,
                expected,
            } => {
                let table = table.name();
                write!(f, "table {table} holds {found} entries, not {expected}")
            }
            Damage::NoTally => f.write_str("its tally is missing"),
        }
    }
}

impl core::error::Error for Damage {}

/// The contents of sound rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The state that the ledger starts from.
    pub recovered: Recovered<Arc<[u8]>>,
    /// The prints of all items that were ever put with a key, oldest first.
    pub prints: Vec<(ItemId, Print)>,
    /// Attempts that were over and had not been shown, in the order of their items.
    pub unshown: Vec<Unshown>,
}

/// An attempt that was over when its supervisor ended, and had not been shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unshown {
    /// Its item.
    pub id: ItemId,
    /// The beginning of the item's serialized bytes, to name it by.
    pub item: Arc<[u8]>,
    /// The attempt's end.
    pub attempt: Attempt,
}

/// The rows read so far.
#[derive(Debug, Default)]
pub struct Recovery {
    pub(super) tally: Option<Tally>,
    pub(super) gone: Ranges,
    /// The first and the last row of `gone`.
    gone_rows: Option<(u64, u64)>,
    pub(super) failures: BTreeMap<Key, Failure>,
    pub(super) dead: BTreeMap<u64, Arc<[u8]>>,
    keeps_dead: bool,
    pub(super) loose: BTreeMap<u64, (u64, Arc<[u8]>)>,
    pub(super) dropped: Ranges,
    pub(super) batches: BTreeMap<u64, BatchState>,
    /// The items of batches that are not gone.
    pub(super) items: BTreeMap<u64, Arc<[u8]>>,
    pub(super) prints: Vec<(u64, Print)>,
    pub(super) unshown: BTreeMap<Key, (Attempt, Arc<[u8]>)>,
    pub(super) rows: u64,
}

impl Recovery {
    /// Makes a recovery that keeps the items of dead letters as well, to be saved.
    #[must_use]
    pub fn for_salvage() -> Self {
        Recovery {
            keeps_dead: true,
            ..Recovery::default()
        }
    }

    /// Reads one row.
    ///
    /// # Errors
    /// The row's fault; it counts as missing.
    pub fn read(&mut self, table: Table, key: Key, row: &[u8]) -> Result<(), Damage> {
        let damaged = Damage::Row { table, key };
        let body = codec::open(table, key, row).ok_or(damaged.clone())?;
        self.rows += 1;
        match table {
            Table::Tally => {
                self.tally = Some(Tally::of_body(body).ok_or(damaged)?);
            }
            Table::Gone => {
                let ranges = Ranges::of_body(body).ok_or(damaged)?;
                self.read_gone(key.0, &ranges)?;
            }
            Table::Failure => {
                let failure = codec::failure_of(body).ok_or(damaged)?;
                self.failures.insert(key, failure);
            }
            Table::Dead => {
                let item = if self.keeps_dead { body } else { &[] };
                self.dead.insert(key.0, item.into());
            }
            Table::Loose => {
                let item = codec::loose_of(body).ok_or(damaged)?;
                self.loose.insert(key.0, item);
            }
            Table::Dropped => {
                let ranges = Ranges::of_body(body).ok_or(damaged.clone())?;
                if ranges.beginning_in(numbers_of(key.0)) != ranges {
                    return Err(damaged);
                }
                let inserted = self.dropped.insert_all(&ranges);
                inserted.map_err(|item| Damage::Twice { table, item })?;
            }
            Table::Batch => {
                let (count, items) = ItemRun::of_bytes(body).ok_or(damaged)?;
                self.read_batch(key.0, count, items)?;
            }
            Table::Print => {
                let prints = codec::prints(key.0, body).ok_or(damaged)?;
                self.prints.extend(prints);
            }
            Table::Unshown => {
                let unshown = codec::unshown_of(body).ok_or(damaged.clone())?;
                if u64::from(unshown.0.number) != key.1 {
                    return Err(damaged);
                }
                self.unshown.insert(key, unshown);
            }
        }
        Ok(())
    }

    fn read_gone(&mut self, number: u64, ranges: &Ranges) -> Result<(), Damage> {
        let (first, last) = self.gone_rows.unwrap_or((number, number));
        self.gone_rows = Some((first.min(number), last.max(number)));
        let table = Table::Gone;
        let inserted = self.gone.insert_all(ranges);
        inserted.map_err(|item| Damage::Twice { table, item })
    }

    fn read_batch(&mut self, first: u64, count: u64, items: Items<'_>) -> Result<(), Damage> {
        let table = Table::Batch;
        let last = match first.checked_add(count - 1) {
            Some(last) if first > 0 && last < u64::MAX => last,
            _ => return Err(Damage::Stray { table, item: first }),
        };
        if let Some((&start, other)) = self.batches.range(..=last).next_back()
            && other.last(start) >= first
        {
            let item = first.max(start);
            return Err(Damage::Twice { table, item });
        }
        let mut left = 0;
        for (id, item) in (first..).zip(items) {
            if !self.gone.contains(id) {
                left += 1;
                self.items.insert(id, item.into());
            }
        }
        self.batches.insert(first, BatchState { count, left });
        Ok(())
    }

    /// Checks all rows that were read and returns what they mean.
    ///
    /// # Errors
    /// The first fault.
    pub fn finish(mut self) -> Result<(Book, Found), Damage> {
        let tally = match self.tally {
            Some(tally) => tally,
            None if self.rows == 0 => Tally::default(),
            None => return Err(Damage::NoTally),
        };
        self.check_places(&tally)?;
        self.check_counts(&tally)?;
        self.check_failures()?;
        self.check_prints(&tally)?;
        self.check_unshown(&tally)?;
        let book = self.book(&tally);
        let found = self.found(&tally);
        Ok((book, found))
    }

    /// Checks that every item is in the one place where it belongs.
    fn check_places(&self, tally: &Tally) -> Result<(), Damage> {
        let accepted = tally.accepted;
        if let Some(item) = self.gone.last().filter(|last| *last > accepted) {
            let table = Table::Gone;
            return Err(Damage::Stray { table, item });
        }
        for (&first, batch) in &self.batches {
            if batch.left == 0 || batch.last(first) > accepted {
                let (table, item) = (Table::Batch, first);
                return Err(Damage::Stray { table, item });
            }
        }
        for (first, last) in self.gone.gaps(1, accepted) {
            self.check_gap(first, last)?;
        }
        for (table, item) in self.letters() {
            if !self.gone.contains(item) {
                return Err(Damage::Stray { table, item });
            }
        }
        if let Some(&item) = self.dead.keys().find(|item| self.loose.contains_key(item)) {
            let table = Table::Loose;
            return Err(Damage::Twice { table, item });
        }
        self.check_dropped()
    }

    /// Checks that what was dropped has left its batch, and is nowhere else.
    fn check_dropped(&self) -> Result<(), Damage> {
        let table = Table::Dropped;
        for (first, last) in self.dropped.iter() {
            if let Some((item, _)) = self.gone.gaps(first, last).first().copied() {
                return Err(Damage::Stray { table, item });
            }
        }
        match self
            .letters()
            .find(|(_, item)| self.dropped.contains(*item))
        {
            Some((_, item)) => Err(Damage::Twice { table, item }),
            None => Ok(()),
        }
    }

    fn letters(&self) -> impl Iterator<Item = (Table, u64)> + '_ {
        let dead = self.dead.keys().map(|item| (Table::Dead, *item));
        dead.chain(self.loose.keys().map(|item| (Table::Loose, *item)))
    }

    /// Checks that all these items are in batches.
    fn check_gap(&self, mut first: u64, last: u64) -> Result<(), Damage> {
        while first <= last {
            let below = self.batches.range(..=first).next_back();
            match below.filter(|(start, batch)| batch.last(**start) >= first) {
                Some((&start, batch)) => first = batch.last(start) + 1,
                None => {
                    let above = self.batches.range(first..=last).next();
                    let last = above.map_or(last, |(start, _)| start - 1);
                    return Err(Damage::Missing { first, last });
                }
            }
        }
        Ok(())
    }

    /// Returns for each table the number of rows, and the number that the tally demands.
    pub(super) fn counts(&self, tally: &Tally) -> [(Table, u64, u64); 7] {
        [
            (Table::Gone, self.gone.count(), tally.gone),
            (Table::Dead, self.dead.len() as u64, tally.dead),
            (Table::Loose, self.loose.len() as u64, tally.loose),
            (Table::Dropped, self.dropped.count(), tally.dropped),
            (Table::Failure, self.failures.len() as u64, tally.failures),
            (Table::Print, self.prints.len() as u64, tally.prints),
            (Table::Unshown, self.unshown.len() as u64, tally.unshown),
        ]
    }

    fn check_counts(&self, tally: &Tally) -> Result<(), Damage> {
        for (table, found, expected) in self.counts(tally) {
            if found != expected {
                return Err(Damage::Count {
                    table,
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// Checks that failures belong to items that keep theirs, and that no place is left out.
    fn check_failures(&self) -> Result<(), Damage> {
        let table = Table::Failure;
        let mut before = (0, 0);
        for &(item, place) in self.failures.keys() {
            let is_kept = self.is_unfinished(item) || self.dead.contains_key(&item);
            let expected = if before.0 == item { before.1 + 1 } else { 0 };
            if !is_kept || place != expected {
                return Err(Damage::Stray { table, item });
            }
            before = (item, place);
        }
        for (&item, (forgiven, _)) in &self.loose {
            if (self.history(item).len() as u64) < *forgiven {
                return Err(Damage::Stray { table, item });
            }
        }
        Ok(())
    }

    fn check_prints(&mut self, tally: &Tally) -> Result<(), Damage> {
        self.prints.sort_unstable_by_key(|(item, _)| *item);
        let table = Table::Print;
        let mut before = 0;
        for &(item, _) in &self.prints {
            if item == before {
                return Err(Damage::Twice { table, item });
            }
            if item > tally.accepted {
                return Err(Damage::Stray { table, item });
            }
            before = item;
        }
        Ok(())
    }

    fn check_unshown(&self, tally: &Tally) -> Result<(), Damage> {
        let items = self.unshown.keys().map(|(item, _)| *item);
        match items
            .into_iter()
            .find(|item| *item == 0 || *item > tally.accepted)
        {
            Some(item) => Err(Damage::Stray {
                table: Table::Unshown,
                item,
            }),
            None => Ok(()),
        }
    }

    pub(super) fn is_unfinished(&self, item: u64) -> bool {
        self.items.contains_key(&item) || self.loose.contains_key(&item)
    }

    pub(super) fn history(&self, item: u64) -> Vec<Failure> {
        let rows = self.failures.range((item, 0)..=(item, u64::MAX));
        rows.map(|(_, failure)| failure.clone()).collect()
    }

    fn book(&self, tally: &Tally) -> Book {
        let mut failures: HashMap<u64, u64> = HashMap::new();
        for (item, _) in self.failures.keys() {
            *failures.entry(*item).or_default() += 1;
        }
        let (gone_first, gone_next) = self
            .gone_rows
            .map_or((0, 0), |(a, b)| (a, b.saturating_add(1)));
        Book {
            accepted: tally.accepted,
            gone: self.gone.clone(),
            batches: self.batches.clone(),
            failures,
            failure_rows: tally.failures,
            dead: self.dead.keys().copied().collect::<BTreeSet<u64>>(),
            loose: self.loose.keys().copied().collect(),
            forgotten: tally.forgotten,
            dropped: self.dropped.clone(),
            prints: tally.prints,
            unshown: self.unshown.keys().copied().collect(),
            gone_next,
            gone_first,
        }
    }

    fn found(mut self, tally: &Tally) -> Found {
        let mut unfinished: BTreeMap<u64, Unfinished<Arc<[u8]>>> = BTreeMap::new();
        let items = core::mem::take(&mut self.items);
        let fresh = items.into_iter().map(|(id, payload)| (id, payload, 0));
        let loose = core::mem::take(&mut self.loose);
        let loose = loose.into_iter().map(|(id, (n, payload))| (id, payload, n));
        for (id, payload, forgiven) in fresh.chain(loose) {
            let item = Unfinished {
                id: ItemId(id),
                payload,
                history: self.history(id),
                forgiven: u32::try_from(forgiven).unwrap_or(u32::MAX),
            };
            unfinished.insert(id, item);
        }
        Found {
            recovered: Recovered {
                accepted: tally.accepted,
                dead: tally.dead + tally.forgotten,
                unfinished: unfinished.into_values().collect(),
            },
            prints: self
                .prints
                .into_iter()
                .map(|(item, print)| (ItemId(item), print))
                .collect(),
            unshown: self
                .unshown
                .into_iter()
                .map(|((id, _), (attempt, item))| Unshown {
                    id: ItemId(id),
                    item,
                    attempt,
                })
                .collect(),
        }
    }
}
