//! Makes a sound book of rows of which some are missing.
//!
//! Items keep their numbers. An item that cannot be shown to be done is done again rather than
//! lost. An item of which at most failures are left counts as a dead letter that was dropped, as it is not
//! known to be done; the print of its key goes, so that the same input puts it again.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::codec::PrintRow;
use super::ranges::Ranges;
use super::{Change, Page, Recovery, Table, Tally, block_of, codec};
use crate::ledger::ItemRun;

/// The salvaged contents of a damaged journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// The rows of a new journal.
    pub changes: Vec<Change>,
    /// The number of unfinished items found.
    pub unfinished: u64,
    /// The number of dead letters found.
    pub dead: u64,
    /// The number of items known to be done.
    pub done: u64,
    /// The number of items of which nothing is known.
    pub lost: u64,
    /// Items known to have ended, well or not.
    ended: Ranges,
}

impl Salvaged {
    /// Returns `true` if this item is known to have ended, well or not.
    #[must_use]
    pub fn has_ended(&self, item: u64) -> bool {
        self.ended.contains(item)
    }
}

impl Recovery {
    /// Returns the tables that miss rows, as far as the tally tells.
    #[must_use]
    pub fn incomplete(&self) -> BTreeSet<Table> {
        match self.tally {
            Some(tally) => {
                let counts = self.counts(&tally).into_iter();
                let differing = counts.filter(|(_, found, expected)| found != expected);
                differing.map(|(table, ..)| table).collect()
            }
            None if self.rows == 0 => BTreeSet::new(),
            None => BTreeSet::from([Table::Tally]),
        }
    }

    /// Makes a sound book of the rows that were read.
    #[must_use]
    pub fn salvage(mut self) -> Salvaged {
        self.keep_dropped();
        let accepted = self.accepted_at_least();
        self.loose.retain(|item, _| !self.dead.contains_key(item));
        let mut ended = self.gone.clone();
        for item in self.dead.keys() {
            ended.add(*item, *item);
        }
        let letters: Vec<u64> = self.dead.keys().chain(self.loose.keys()).copied().collect();
        for item in letters {
            self.items.remove(&item);
            self.gone.add(item, item);
        }
        let lost = self.take_lost(accepted);
        let mut page = Page::default();
        self.put_batches(&mut page);
        self.put_letters(&mut page);
        let failures = self.put_failures(&mut page);
        let prints = self.put_prints(&mut page, &lost);
        let blocks = self
            .dropped
            .iter()
            .map(|(first, _)| block_of(first))
            .collect();
        page.put_dropped(blocks, &self.dropped);
        if self.gone.count() > 0 {
            page.put(Table::Gone, (0, 0), self.gone.clone().into_body());
        }
        let tally = Tally {
            failures,
            prints,
            ..self.new_tally(accepted, lost.count())
        };
        page.put(Table::Tally, (0, 0), tally.into_body());
        Salvaged {
            changes: page.changes,
            unfinished: (self.items.len() + self.loose.len()) as u64,
            dead: tally.dead,
            done: tally.done().unwrap_or(0),
            lost: lost.count(),
            ended,
        }
    }

    /// Has what was dropped as a dead letter be gone and nowhere else, whichever rows are missing.
    fn keep_dropped(&mut self) {
        for (first, last) in self.dropped.iter() {
            self.gone.add(first, last);
            self.items
                .extract_if(first..=last, |_, _| true)
                .for_each(drop);
        }
        self.dead.retain(|item, _| !self.dropped.contains(*item));
        self.loose.retain(|item, _| !self.dropped.contains(*item));
    }

    /// Returns the last item that any row names.
    fn accepted_at_least(&self) -> u64 {
        let batches = self.batches.iter().map(|(first, batch)| batch.last(*first));
        let letters = self.dead.keys().chain(self.loose.keys()).copied();
        let prints = self.prints.iter().map(|(item, _)| *item);
        let failures = self.failures.keys().map(|(item, _)| *item);
        let told = self.tally.map(|tally| tally.accepted);
        let named = batches.chain(letters).chain(prints);
        let named = named.chain(failures).chain(told);
        named.chain(self.gone.last()).max().unwrap_or(0)
    }

    /// Marks items as dropped that have no content left and are not known to be done. Returns them.
    fn take_lost(&mut self, accepted: u64) -> Ranges {
        let mut known = self.gone.clone();
        for (first, batch) in &self.batches {
            known.add(*first, batch.last(*first));
        }
        let mut lost = Ranges::default();
        for (first, last) in known.gaps(1, accepted) {
            lost.add(first, last);
            self.gone.add(first, last);
        }
        // Only unfinished items and dead letters keep failures, so this one was a dead letter.
        for item in self.failures.keys().map(|key| key.0) {
            if !self.is_unfinished(item) && !self.dead.contains_key(&item) {
                lost.add(item, item);
            }
        }
        for (first, last) in lost.iter() {
            self.dropped.add(first, last);
        }
        lost
    }

    fn put_batches(&self, page: &mut Page) {
        let (mut first, mut row) = (0, ItemRun::default());
        for (&item, body) in &self.items {
            let follows = row.count() > 0 && item == first + row.count();
            if !follows || row.is_full_with(body.len()) {
                put_batch(page, first, core::mem::take(&mut row));
                first = item;
            }
            row.push(body);
        }
        put_batch(page, first, row);
    }

    fn put_letters(&self, page: &mut Page) {
        for (&item, body) in &self.dead {
            page.put(Table::Dead, (item, 0), body.to_vec());
        }
        for (&item, (forgiven, body)) in &self.loose {
            let forgiven = (*forgiven).min(self.history(item).len() as u64);
            page.put(Table::Loose, (item, 0), codec::loose(forgiven, body));
        }
    }

    /// Puts the failures, and returns their number.
    fn put_failures(&self, page: &mut Page) -> u64 {
        let items: BTreeSet<u64> = self.failures.keys().map(|key| key.0).collect();
        let mut count = 0;
        for item in items {
            if self.is_unfinished(item) || self.dead.contains_key(&item) {
                for (place, failure) in (0..).zip(self.history(item)) {
                    page.put(Table::Failure, (item, place), codec::encode(&failure));
                    count += 1;
                }
            }
        }
        count
    }

    /// Puts the prints, and returns their number.
    fn put_prints(&mut self, page: &mut Page, lost: &Ranges) -> u64 {
        self.prints.retain(|(item, _)| !lost.contains(*item));
        self.prints.sort_unstable_by_key(|(item, _)| *item);
        self.prints.dedup_by_key(|(item, _)| *item);
        for prints in self.prints.chunks(ItemRun::ITEMS_MAX) {
            let mut row = PrintRow::default();
            let first = prints.first().map_or(0, |(item, _)| *item);
            for (item, print) in prints {
                row.push(item - first, *print);
            }
            page.put(Table::Print, (first, 0), row.into_body());
        }
        self.prints.len() as u64
    }

    /// Returns the new tally, but for the rows that are counted when they are put.
    fn new_tally(&self, accepted: u64, lost: u64) -> Tally {
        let (gone, dead) = (self.gone.count(), self.dead.len() as u64);
        let loose = self.loose.len() as u64;
        let left = gone - dead - loose;
        let dropped = self.dropped.count();
        let forgotten = self.tally.map_or(0, |tally| tally.forgotten);
        // The number of done items never rises, whichever rows are missing.
        let done = self.tally.and_then(|tally| tally.done()).unwrap_or(left);
        let not_done = left.saturating_sub(done);
        Tally {
            accepted,
            gone,
            dead,
            loose,
            failures: 0,
            // Some of the forgotten ones may be among the lost.
            forgotten: (forgotten.saturating_add(lost).max(not_done))
                .max(dropped)
                .min(left),
            prints: 0,
            // Their output lies beside the damaged file, for people to look at.
            unshown: 0,
            dropped,
        }
    }
}

fn put_batch(page: &mut Page, first: u64, row: ItemRun) {
    if row.count() > 0 {
        page.put(Table::Batch, (first, 0), row.into_bytes());
    }
}
