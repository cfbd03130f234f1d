//! The journal's book-keeping: the rows that change with a write, and what rows mean afterwards.
//!
//! It is pure: it knows no database, no file and no clock. It decides on [`Change`]s; the journal
//! in SQLite applies all those of one write together or not at all. Rows found at a new start go
//! through [`Recovery`], which trusts nothing: every row carries a checksum, every item is
//! accounted for, and a tally says how many rows there must be.
//!
//! A row for each item would cost too much, so all items of one write share a row:
//!
//! | table | key | a row holds |
//! | --- | --- | --- |
//! | `batch` | first item | items that were accepted together |
//! | `gone` | number | ranges of items that have left their batch, done or once a dead letter |
//! | `failure` | item, place | one failed attempt of an item that is not done |
//! | `dead` | item | a dead letter's item |
//! | `loose` | item | a dead letter that is tried again |
//! | `dropped` | block of numbers | ranges of dead letters that were dropped, by the block they begin in |
//! | `print` | first item | prints of the keys of items that were accepted together, kept for ever |
//! | `unshown` | item, attempt | the end of an attempt that has not been shown yet |
//! | `tally` | 0 | how many items and rows there are |
//!
//! A batch is dropped when all its items are gone, so the journal of a bounded queue stays small.
//! An item is therefore *unfinished* if it is not gone, or loose; *dead* if it is in `dead` or in
//! `dropped`; all others are *done*, but for dead letters that an older format has dropped, of which
//! only the number is known.

mod codec;
#[cfg(test)]
#[path = "../tests/shared/tables.rs"]
mod memory;
mod ranges;
mod recovery;
mod salvage;
mod tables;
mod tally;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashMap;

use ranges::Ranges;
pub use recovery::{Damage, Found, Recovery, Unshown};
pub use salvage::Salvaged;
pub use tables::{Change, Key, Table};
pub use tally::Tally;

use crate::ledger::{Failure, ItemId, ItemRun, Record};

/// The key of an item as it is kept: 128 bits of a keyed hash.
pub type Print = u128;

/// The parts of an item that the journal keeps.
pub trait Stored {
    /// Returns its serialized bytes.
    fn body(&self) -> &[u8];

    /// Returns the print of its key, if it was put with one.
    fn print(&self) -> Option<Print>;
}

/// The number of rows of `gone` at which they are merged into one.
const GONE_ROWS_MAX: u64 = 64;

/// The count of numbers in a block: what begins in the same one shares a row of `dropped`.
const DROPPED_BLOCK: u64 = 1024;

/// A batch whose row exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct BatchState {
    count: u64,
    /// The number of its items that are not gone.
    left: u64,
}

impl BatchState {
    fn last(self, first: u64) -> u64 {
        first + (self.count - 1)
    }
}

/// The contents of the rows, as far as they determine the next changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// The number of items ever accepted.
    accepted: u64,
    gone: Ranges,
    batches: BTreeMap<u64, BatchState>,
    /// The number of failure rows of each item that has any.
    failures: HashMap<u64, u64>,
    failure_rows: u64,
    dead: BTreeSet<u64>,
    loose: BTreeSet<u64>,
    /// The number of dead letters whose rows were dropped.
    forgotten: u64,
    /// Those of them whose numbers are known.
    dropped: Ranges,
    /// The number of prints ever put.
    prints: u64,
    /// Attempts that are over and not shown.
    unshown: BTreeSet<Key>,
    /// The number of the next row of `gone`; below, that of the first one that exists.
    gone_next: u64,
    gone_first: u64,
}

/// A record that contradicts the book, in words. It is a bug in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction(pub String);

/// The changes of one write while they are collected.
#[derive(Default)]
struct Page {
    changes: Vec<Change>,
    /// The first and the last of items that leave their batches.
    leaving: Vec<(u64, u64)>,
}

/// Items that are accepted together, while they are collected.
#[derive(Default)]
struct NewBatch {
    run: ItemRun,
    prints: codec::PrintRow,
}

/// Returns the block of `dropped` in which this number is.
fn block_of(number: u64) -> u64 {
    number / DROPPED_BLOCK
}

fn numbers_of(block: u64) -> core::ops::RangeInclusive<u64> {
    let first = block.saturating_mul(DROPPED_BLOCK);
    first..=first.saturating_add(DROPPED_BLOCK - 1)
}

impl Page {
    fn put(&mut self, table: Table, key: Key, body: Vec<u8>) {
        let row = codec::seal(table, key, body);
        self.changes.push(Change::Put { table, key, row });
    }

    fn drop(&mut self, table: Table, keys: core::ops::RangeInclusive<Key>) {
        let (first, last) = keys.into_inner();
        self.changes.push(Change::Drop { table, first, last });
    }

    /// Writes these blocks of dropped dead letters.
    fn put_dropped(&mut self, blocks: BTreeSet<u64>, dropped: &Ranges) {
        for block in blocks {
            let (table, key) = (Table::Dropped, (block, 0));
            let ranges = dropped.beginning_in(numbers_of(block));
            match ranges.count() {
                0 => self.drop(table, key..=key),
                _ => self.put(table, key, ranges.into_body()),
            }
        }
    }
}

impl Book {
    /// Returns the changes of one write, to be applied together or not at all.
    ///
    /// # Errors
    /// A record contradicts the book, which must not be used afterwards.
    pub fn changes<P: Stored>(
        &mut self,
        mut records: Vec<Record<P>>,
    ) -> Result<Vec<Change>, Contradiction> {
        let mut page = Page::default();
        self.accept(&mut page, &mut records)?;
        for record in records {
            match record {
                Record::Accepted { .. } | Record::AcceptedRun { .. } => {}
                Record::Failed { id, failure } => self.fail(&mut page, id, &failure)?,
                Record::Done { first, last } => self.finish(&mut page, first, last)?,
                Record::Dead { id, payload } => {
                    self.leave(&mut page, id)?;
                    self.dead.insert(id.0);
                    page.put(Table::Dead, (id.0, 0), payload.body().to_vec());
                }
                Record::Over {
                    id,
                    payload,
                    attempt,
                } => {
                    let key = (id.0, attempt.number.into());
                    self.unshown.insert(key);
                    page.put(
                        Table::Unshown,
                        key,
                        codec::unshown(&attempt, payload.body()),
                    );
                }
                Record::Shown { id, attempt } => {
                    let key = (id.0, attempt.into());
                    if self.unshown.remove(&key) {
                        page.drop(Table::Unshown, key..=key);
                    }
                }
            }
        }
        self.settle(&mut page)?;
        self.write_tally(&mut page);
        Ok(page.changes)
    }

    /// Forgets these dead letters and returns the changes: they stay counted as dead, their content goes.
    /// Passes over items that are not dead letters.
    pub fn forget(&mut self, ids: &[ItemId]) -> Vec<Change> {
        let mut page = Page::default();
        let mut blocks = BTreeSet::new();
        for id in ids.iter().map(|id| id.0) {
            if self.dead.remove(&id) {
                self.forgotten += 1;
                let first = self.dropped.add_one(id);
                // What began behind it may be in the same range now.
                blocks.extend([first, id.saturating_add(1)].map(block_of));
                page.drop(Table::Dead, (id, 0)..=(id, 0));
                self.drop_failures(&mut page, id);
            }
        }
        page.put_dropped(blocks, &self.dropped);
        self.write_tally(&mut page);
        page.changes
    }

    /// Makes this dead letter unfinished again and returns the changes; `None` if there is none.
    pub fn revive(&mut self, id: ItemId, body: &[u8]) -> Option<Vec<Change>> {
        if !self.dead.remove(&id.0) {
            return None;
        }
        let mut page = Page::default();
        self.loose.insert(id.0);
        let forgiven = self.failures.get(&id.0).copied().unwrap_or(0);
        page.drop(Table::Dead, (id.0, 0)..=(id.0, 0));
        let row = codec::loose(forgiven, body);
        page.put(Table::Loose, (id.0, 0), row);
        self.write_tally(&mut page);
        Some(page.changes)
    }

    /// Merges all rows of `gone` into one and returns the changes.
    pub fn merge(&mut self) -> Vec<Change> {
        let mut page = Page::default();
        if self.gone_next > self.gone_first + 1 {
            self.merge_gone(&mut page);
            self.write_tally(&mut page);
        }
        page.changes
    }

    /// Returns `true` if this item is a dead letter whose row exists.
    #[must_use]
    pub fn is_dead(&self, id: ItemId) -> bool {
        self.dead.contains(&id.0)
    }

    /// Returns `true` if this item was given up: it is a dead letter, or was dropped as one.
    #[must_use]
    pub fn is_given_up(&self, id: ItemId) -> bool {
        self.is_dead(id) || self.dropped.contains(id.0)
    }

    /// Returns the items that were given up, in no order.
    pub fn given_up(&self) -> impl Iterator<Item = ItemId> {
        let dropped = self.dropped.iter();
        let dropped = dropped.flat_map(|(first, last)| first..=last);
        self.dead.iter().copied().chain(dropped).map(ItemId)
    }

    /// Returns the number of items and rows.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            accepted: self.accepted,
            gone: self.gone.count(),
            dead: self.dead.len() as u64,
            loose: self.loose.len() as u64,
            failures: self.failure_rows,
            forgotten: self.forgotten,
            dropped: self.dropped.count(),
            prints: self.prints,
            unshown: self.unshown.len() as u64,
        }
    }

    /// Puts the items that were accepted. A run's bytes become a row without being copied.
    fn accept<P: Stored>(
        &mut self,
        page: &mut Page,
        records: &mut [Record<P>],
    ) -> Result<(), Contradiction> {
        let mut batch = NewBatch::default();
        for record in records {
            match record {
                Record::Accepted { id, payload } => {
                    self.check_next(*id)?;
                    let body = payload.body();
                    if batch.run.is_full_with(body.len()) {
                        self.put_batch(page, &mut batch);
                    }
                    if let Some(print) = payload.print() {
                        batch.prints.push(batch.run.count(), print);
                    }
                    batch.run.push(body);
                    self.accepted = id.0;
                }
                Record::AcceptedRun { first, run } => {
                    self.check_next(*first)?;
                    let last = run.last(*first);
                    if let Err(run) = batch.run.append(core::mem::take(run)) {
                        self.put_batch(page, &mut batch);
                        batch.run = run;
                    }
                    self.accepted = last.0;
                }
                Record::Failed { .. }
                | Record::Done { .. }
                | Record::Dead { .. }
                | Record::Over { .. }
                | Record::Shown { .. } => {}
            }
        }
        self.put_batch(page, &mut batch);
        Ok(())
    }

    fn check_next(&self, id: ItemId) -> Result<(), Contradiction> {
        let last = self.accepted;
        match id.0 == last + 1 {
            true => Ok(()),
            false => Err(contradiction(id, &format!("accepted after item {last}"))),
        }
    }

    /// Puts a batch of the last items that were accepted, and begins another.
    fn put_batch(&mut self, page: &mut Page, batch: &mut NewBatch) {
        let NewBatch { run, prints } = core::mem::take(batch);
        let count = run.count();
        if count == 0 {
            return;
        }
        let first = self.accepted + 1 - count;
        self.batches
            .insert(first, BatchState { count, left: count });
        page.put(Table::Batch, (first, 0), run.into_bytes());
        if prints.count > 0 {
            self.prints += prints.count;
            page.put(Table::Print, (first, 0), prints.into_body());
        }
    }

    fn fail(&mut self, page: &mut Page, id: ItemId, what: &Failure) -> Result<(), Contradiction> {
        if !self.loose.contains(&id.0) && (self.gone.contains(id.0) || !self.was_accepted(id)) {
            return Err(contradiction(id, "failed, and is not unfinished"));
        }
        let place = self.failures.entry(id.0).or_default();
        page.put(Table::Failure, (id.0, *place), codec::encode(what));
        *place += 1;
        self.failure_rows += 1;
        Ok(())
    }

    fn was_accepted(&self, id: ItemId) -> bool {
        (1..=self.accepted).contains(&id.0)
    }

    /// Gives these items their end: they are done.
    fn finish(
        &mut self,
        page: &mut Page,
        first: ItemId,
        last: ItemId,
    ) -> Result<(), Contradiction> {
        let is_usual = self.failures.is_empty() && self.loose.is_empty();
        if is_usual && self.was_accepted(first) && self.was_accepted(last) {
            page.leaving.push((first.0, last.0));
            return Ok(());
        }
        for id in first.0..=last.0 {
            self.leave(page, ItemId(id))?;
            self.drop_failures(page, id);
        }
        Ok(())
    }

    /// Gives an unfinished item its terminal state.
    fn leave(&mut self, page: &mut Page, id: ItemId) -> Result<(), Contradiction> {
        if self.loose.remove(&id.0) {
            page.drop(Table::Loose, (id.0, 0)..=(id.0, 0));
        } else if !self.was_accepted(id) {
            return Err(contradiction(id, "ended, and was never accepted"));
        } else {
            page.leaving.push((id.0, id.0));
        }
        Ok(())
    }

    fn drop_failures(&mut self, page: &mut Page, id: u64) {
        if let Some(rows) = self.failures.remove(&id) {
            self.failure_rows -= rows;
            page.drop(Table::Failure, (id, 0)..=(id, u64::MAX));
        }
    }

    /// Records the items that have left, and drops the batches that are empty now.
    fn settle(&mut self, page: &mut Page) -> Result<(), Contradiction> {
        if page.leaving.is_empty() {
            return Ok(());
        }
        let mut leaving = core::mem::take(&mut page.leaving);
        leaving.sort_unstable();
        let ranges = Ranges::of_sorted(&leaving)
            .and_then(|ranges| self.gone.insert_all(&ranges).map(|()| ranges))
            .map_err(|id| contradiction(ItemId(id), "ended twice"))?;
        for (first, last) in ranges.iter() {
            self.leave_batches(page, first, last)?;
        }
        self.gone_next += 1;
        if self.gone_next - self.gone_first > GONE_ROWS_MAX {
            self.merge_gone(page);
        } else {
            page.put(Table::Gone, (self.gone_next - 1, 0), ranges.into_body());
        }
        Ok(())
    }

    fn leave_batches(
        &mut self,
        page: &mut Page,
        mut first: u64,
        last: u64,
    ) -> Result<(), Contradiction> {
        while first <= last {
            let batch = self.batches.range_mut(..=first).next_back();
            let found = batch.filter(|(start, batch)| batch.last(**start) >= first);
            let Some((&start, batch)) = found else {
                return Err(contradiction(ItemId(first), "ended, and is in no batch"));
            };
            let end = batch.last(start).min(last);
            batch.left -= end - first + 1;
            if batch.left == 0 {
                self.batches.remove(&start);
                page.drop(Table::Batch, (start, 0)..=(start, 0));
            }
            first = end + 1;
        }
        Ok(())
    }

    fn merge_gone(&mut self, page: &mut Page) {
        let number = self.gone_next;
        page.drop(Table::Gone, (0, 0)..=(number, 0));
        let body = self.gone.clone().into_body();
        page.put(Table::Gone, (number, 0), body);
        self.gone_first = number;
        self.gone_next = number + 1;
    }

    fn write_tally(&self, page: &mut Page) {
        if !page.changes.is_empty() {
            page.put(Table::Tally, (0, 0), self.tally().into_body());
        }
    }
}

/// Decodes the failed attempt in a row of [`Table::Failure`].
///
/// # Errors
/// The row is damaged.
pub fn failure_in(key: Key, row: &[u8]) -> Result<Failure, Damage> {
    let table = Table::Failure;
    let failure = codec::open(table, key, row).and_then(codec::failure_of);
    failure.ok_or(Damage::Row { table, key })
}

/// Returns the item in a row of [`Table::Dead`].
///
/// # Errors
/// The row is damaged.
pub fn item_in(key: Key, row: &[u8]) -> Result<&[u8], Damage> {
    let table = Table::Dead;
    codec::open(table, key, row).ok_or(Damage::Row { table, key })
}

fn contradiction(id: ItemId, what: &str) -> Contradiction {
    Contradiction(format!("item {id}: {what}"))
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec;

    use proptest::prelude::*;

    use super::memory::Tables;
    use super::*;
    use crate::book::Print;
    use crate::ledger::{Cause, Recovered, Scene, Unfinished};

    #[derive(Debug, Clone)]
    struct Envelope(Arc<[u8]>, Option<Print>);

    impl Stored for Envelope {
        fn body(&self) -> &[u8] {
            &self.0
        }

        fn print(&self) -> Option<Print> {
            self.1
        }
    }

    /// The possible steps; numbers choose among the items that a step may apply to.
    #[derive(Debug, Clone)]
    enum Step {
        Accept(Vec<u8>, Option<Print>),
        AcceptRun(Vec<Vec<u8>>),
        Fail(usize),
        Done(usize),
        DoneRun(usize, usize),
        Dead(usize),
        EndWrite,
        Revive(usize),
        Forget(usize),
        Merge,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let body = prop::collection::vec(any::<u8>(), 0..6);
        let run = prop::collection::vec(body.clone(), 0..9);
        prop::collection::vec(
            prop_oneof![
                4 => (body, prop::option::of(any::<Print>())).prop_map(|(b, p)| Step::Accept(b, p)),
                2 => run.prop_map(Step::AcceptRun),
                2 => any::<usize>().prop_map(Step::Fail),
                3 => any::<usize>().prop_map(Step::Done),
                2 => (any::<usize>(), 1..9_usize).prop_map(|(at, count)| Step::DoneRun(at, count)),
                1 => any::<usize>().prop_map(Step::Dead),
                3 => Just(Step::EndWrite),
                1 => any::<usize>().prop_map(Step::Revive),
                1 => any::<usize>().prop_map(Step::Forget),
                1 => Just(Step::Merge),
            ],
            0..120,
        )
    }

    /// The same as a book and its tables, but simple.
    #[derive(Default)]
    struct Model {
        found: Found,
        dead: BTreeMap<u64, Unfinished<Arc<[u8]>>>,
        dropped: BTreeSet<u64>,
        book: Book,
        tables: Tables,
        records: Vec<Record<Envelope>>,
    }

    impl Model {
        fn unfinished(&mut self, choice: usize) -> Option<usize> {
            let unfinished = &self.found.recovered.unfinished;
            (!unfinished.is_empty()).then(|| choice % unfinished.len())
        }

        fn dead(&self, choice: usize) -> Option<u64> {
            let ids: Vec<u64> = self.dead.keys().copied().collect();
            (!ids.is_empty()).then(|| ids[choice % ids.len()])
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Accept(body, print) => self.accept(body.into(), print),
                Step::AcceptRun(bodies) => self.accept_run(bodies),
                Step::Fail(choice) => {
                    if let Some(at) = self.unfinished(choice) {
                        self.fail(at);
                    }
                }
                Step::Done(choice) => {
                    if let Some(at) = self.unfinished(choice) {
                        let item = self.found.recovered.unfinished.remove(at);
                        self.end(item.id);
                    }
                }
                Step::DoneRun(choice, count) => {
                    if let Some(at) = self.unfinished(choice) {
                        let unfinished = &mut self.found.recovered.unfinished;
                        let end = unfinished.len().min(at + count);
                        let ended: Vec<_> = unfinished.drain(at..end).collect();
                        ended.iter().for_each(|item| self.end(item.id));
                    }
                }
                Step::Dead(choice) => {
                    if let Some(at) = self.unfinished(choice) {
                        self.fail(at);
                        let item = self.found.recovered.unfinished.remove(at);
                        let payload = Envelope(Arc::clone(&item.payload), None);
                        self.records.push(Record::Dead {
                            id: item.id,
                            payload,
                        });
                        self.found.recovered.dead += 1;
                        self.dead.insert(item.id.0, item);
                    }
                }
                Step::EndWrite => self.end_write(),
                Step::Revive(choice) => {
                    self.end_write();
                    if let Some(id) = self.dead(choice) {
                        self.revive(id);
                    }
                    let never = self.found.recovered.accepted + 1;
                    assert_eq!(self.book.revive(ItemId(never), b""), None);
                }
                Step::Forget(choice) => {
                    self.end_write();
                    if let Some(id) = self.dead(choice) {
                        self.dead.remove(&id);
                        self.dropped.insert(id);
                        let changes = self.book.forget(&[ItemId(id), ItemId(u64::MAX)]);
                        self.apply(&changes);
                    }
                }
                Step::Merge => {
                    self.end_write();
                    let changes = self.book.merge();
                    self.apply(&changes);
                }
            }
        }

        fn accept(&mut self, payload: Arc<[u8]>, print: Option<Print>) {
            let recovered = &mut self.found.recovered;
            recovered.accepted += 1;
            let id = ItemId(recovered.accepted);
            recovered.unfinished.push(Unfinished {
                id,
                payload: Arc::clone(&payload),
                history: Vec::new(),
                forgiven: 0,
            });
            self.found.prints.extend(print.map(|print| (id, print)));
            let payload = Envelope(payload, print);
            self.records.push(Record::Accepted { id, payload });
        }

        /// Accepts these items in one record, unless there is none.
        fn accept_run(&mut self, bodies: Vec<Vec<u8>>) {
            let first = ItemId(self.found.recovered.accepted + 1);
            let mut run = ItemRun::default();
            for body in bodies {
                run.push(&body);
                self.accept(body.into(), None);
                self.records.pop();
            }
            if run.count() > 0 {
                self.records.push(Record::AcceptedRun { first, run });
            }
        }

        /// Records the end of an item, in the record of the item before it if that is the last one.
        fn end(&mut self, id: ItemId) {
            match self.records.last_mut() {
                Some(Record::Done { last, .. }) if last.0 + 1 == id.0 => *last = id,
                _ => self.records.push(Record::done(id)),
            }
        }

        fn fail(&mut self, at: usize) {
            let item = &mut self.found.recovered.unfinished[at];
            let failure = Failure {
                attempt: 7,
                cause: Cause::Nack(format!("failure {}", item.history.len())),
                scene: Scene::default(),
            };
            item.history.push(failure.clone());
            let id = item.id;
            self.records.push(Record::Failed { id, failure });
        }

        fn revive(&mut self, id: u64) {
            let mut item = self.dead.remove(&id).unwrap();
            item.forgiven = u32::try_from(item.history.len()).unwrap();
            let changes = self.book.revive(item.id, &item.payload).unwrap();
            let recovered = &mut self.found.recovered;
            recovered.dead -= 1;
            recovered.unfinished.push(item);
            recovered.unfinished.sort_by_key(|item| item.id);
            self.apply(&changes);
        }

        fn end_write(&mut self) {
            let records = core::mem::take(&mut self.records);
            let changes = self.book.changes(records).unwrap();
            self.apply(&changes);
        }

        /// Applies a transaction and checks that the tables recover to the model.
        fn apply(&mut self, changes: &[Change]) {
            changes.iter().for_each(|change| self.tables.apply(change));
            let (book, found) = self.tables.recover().unwrap();
            assert_eq!(found, self.found);
            assert_eq!(book, self.book);
            assert!(book.dead.iter().eq(self.dead.keys()));
            let given_up: BTreeSet<u64> = book.given_up().map(|id| id.0).collect();
            let dropped = self.dropped.iter();
            let expected = self.dead.keys().chain(dropped).copied().collect();
            assert_eq!(given_up, expected);
            let tally = book.tally();
            let Recovered {
                accepted,
                dead,
                unfinished,
            } = &found.recovered;
            assert_eq!(tally.unfinished(), Some(unfinished.len() as u64));
            assert_eq!(
                tally.done(),
                Some(accepted - dead - unfinished.len() as u64)
            );
        }
    }

    fn run(steps: Vec<Step>) -> Model {
        let mut model = Model::default();
        steps.into_iter().for_each(|step| model.step(step));
        model.end_write();
        model
    }

    proptest! {
        #[test]
        fn what_is_written_recovers_after_every_transaction(steps in steps()) {
            run(steps);
        }

        /// A row that is gone, changed or in another's place is noticed.
        #[test]
        fn a_missing_or_changed_row_is_noticed(steps in steps(), choice: usize, at: usize, bit in 0..8) {
            let model = run(steps);
            let keys: Vec<_> = model.tables.0.keys().copied().collect();
            if keys.is_empty() {
                return Ok(());
            }
            let key = keys[choice % keys.len()];
            let mut torn = model.tables.clone();
            let row = torn.0.remove(&key).unwrap();
            prop_assert!(torn.recover().is_err(), "{key:?} is missing");
            let mut torn = model.tables.clone();
            let bytes = torn.0.get_mut(&key).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(torn.recover().is_err(), "{key:?} is changed");
            let mut torn = model.tables.clone();
            torn.0.insert((key.0, (key.1.0 + 1_000_000, key.1.1)), row);
            prop_assert!(torn.recover().is_err(), "{key:?} is there twice");
        }

        /// Any rows but the tally may be missing: what is left is sound, no more is done than was,
        /// and a lost letter that has failures is put again by the same input.
        #[test]
        fn what_is_salvaged_makes_nothing_done(steps in steps(), choices: Vec<prop::sample::Index>) {
            let model = run(steps);
            let mut torn = model.tables.clone();
            for choice in choices {
                let rows = torn.0.keys().filter(|(table, _)| *table != Table::Tally);
                let rows: Vec<_> = rows.copied().collect();
                if !rows.is_empty() {
                    torn.0.remove(choice.get(&rows));
                }
            }
            let mut recovery = Recovery::for_salvage();
            for table in Table::ALL {
                for ((of, key), row) in &torn.0 {
                    if *of == table {
                        recovery.read(table, *key, row).unwrap();
                    }
                }
            }
            let salvaged = recovery.salvage();
            prop_assert!(salvaged.done <= model.book.tally().done().unwrap());
            let mut whole = Tables::default();
            salvaged.changes.iter().for_each(|change| whole.apply(change));
            let (book, found) = whole.recover().expect("sound");
            prop_assert_eq!(book.tally().done(), Some(salvaged.done));
            for &id in &model.dropped {
                let key = (Table::Dropped, (block_of(id), 0));
                let is_known = torn.0.contains_key(&key);
                prop_assert!(!is_known || book.is_given_up(ItemId(id)), "{id} counts as done");
                prop_assert!(!is_known || found.recovered.unfinished.iter().all(|one| one.id.0 != id));
            }
            let mut put = BTreeSet::new();
            for ((table, key), row) in &whole.0 {
                if *table == Table::Print {
                    let body = codec::open(*table, *key, row).expect("sound");
                    put.extend(codec::prints(key.0, body).expect("sound"));
                }
            }
            for (&id, letter) in &model.dead {
                let has_failures = torn.0.contains_key(&(Table::Failure, (id, 0)));
                let unfinished = &found.recovered.unfinished;
                let is_kept = book.is_dead(ItemId(id)) || unfinished.iter().any(|one| one.id.0 == id);
                if has_failures && !letter.history.is_empty() && !is_kept {
                    prop_assert!(put.iter().all(|(item, _)| *item != id), "{id} counts as put");
                }
            }
        }

        /// Rows with right checksums and any content give an error or a book, never a panic.
        #[test]
        fn any_sealed_rows_recover_or_do_not(
            rows in prop::collection::vec((0..Table::ALL.len(), 0..5_u64, 0..3_u64, prop::collection::vec(0..9_u8, 0..12)), 0..9),
        ) {
            let mut tables = Tables::default();
            for (table, a, b, body) in rows {
                let (table, key) = (Table::ALL[table], (a, b));
                tables.0.insert((table, key), codec::seal(table, key, body));
            }
            if let Ok((book, found)) = tables.recover() {
                prop_assert_eq!(book.tally().unfinished(), Some(found.recovered.unfinished.len() as u64));
            }
        }
    }

    #[test]
    fn many_writes_leave_few_rows() {
        let mut model = Model::default();
        for n in 0..1000 {
            model.step(Step::Accept(vec![1], Some(n)));
            model.step(Step::EndWrite);
            model.step(Step::Done(0));
            model.step(Step::EndWrite);
        }
        let rows = |table| model.tables.0.keys().filter(|key| key.0 == table).count();
        assert_eq!(rows(Table::Batch), 0);
        assert!(rows(Table::Gone) <= usize::try_from(GONE_ROWS_MAX).unwrap());
    }

    /// Dropped ones share few rows where they lie side by side, in whatever order they were dropped.
    #[test]
    fn what_was_dropped_is_known_across_blocks() {
        let mut model = Model::default();
        model.step(Step::AcceptRun(vec![vec![7]; 3000]));
        (0..3000).for_each(|_| model.step(Step::Dead(0)));
        model.step(Step::EndWrite);
        let rows = |model: &Model| {
            let rows = model.tables.0.keys().filter(|key| key.0 == Table::Dropped);
            rows.map(|key| key.1.0).collect::<Vec<_>>()
        };
        let block = DROPPED_BLOCK;
        let steps = [
            (vec![block], vec![1]),
            (vec![block - 2], vec![0, 1]),
            (vec![block - 1], vec![0]),
            (vec![2 * block, 2 * block + 1], vec![0, 2]),
            ((block + 1..2 * block).rev().collect(), vec![0]),
        ];
        for (ids, expected) in steps {
            let ids: Vec<ItemId> = ids.into_iter().map(ItemId).collect();
            for id in &ids {
                model.dead.remove(&id.0);
                model.dropped.insert(id.0);
            }
            let changes = model.book.forget(&ids);
            model.apply(&changes);
            assert_eq!(rows(&model), expected, "after {ids:?}");
        }
        assert!(model.book.is_given_up(ItemId(block)));
        assert!(!model.book.is_dead(ItemId(block)));
        assert!(model.book.is_given_up(ItemId(1)), "it is a dead letter");
    }

    #[test]
    fn large_items_do_not_share_a_batch() {
        let mut book = Book::default();
        let body: Arc<[u8]> = vec![7; ItemRun::BYTES_MAX - 100].into();
        let accepted = |id| Record::Accepted {
            id: ItemId(id),
            payload: Envelope(Arc::clone(&body), Some(id.into())),
        };
        let changes = book.changes(vec![accepted(1), accepted(2)]).unwrap();
        let mut tables = Tables::default();
        changes.iter().for_each(|change| tables.apply(change));
        let batches = tables.0.keys().filter(|key| key.0 == Table::Batch);
        assert_eq!(batches.count(), 2);
        let expected = [(ItemId(1), 1), (ItemId(2), 2)];
        assert_eq!(tables.recover().unwrap().1.prints, expected);
    }

    #[test]
    fn an_item_that_ends_twice_contradicts() {
        let mut book = Book::default();
        let payload = Envelope([].into(), None);
        let id = ItemId(1);
        let records = vec![Record::Accepted { id, payload }, Record::done(id)];
        book.changes(records).unwrap();
        let again: [Record<Envelope>; 1] = [Record::done(id)];
        let again = book.clone().changes(again.into());
        assert_eq!(again, Err(Contradiction("item 1: ended twice".into())));
        let never: [Record<Envelope>; 1] = [Record::done(ItemId(2))];
        let never = book.changes(never.into());
        assert_eq!(
            never,
            Err(Contradiction(
                "item 2: ended, and was never accepted".into()
            ))
        );
    }
}
