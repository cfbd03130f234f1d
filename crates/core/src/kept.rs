//! The ends of items that are kept for whoever asks for them later: the latest, within bounds.
//!
//! An end that goes is not forgotten without a trace: an item whose end was here and is not any more
//! is told from one whose end has not come yet. It does not know what is kept of an end.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ledger::ItemId;

/// The bounds of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepBounds {
    /// The number of items.
    pub items: usize,
    /// The bytes of all of them together. The one that ended last is kept whatever its size.
    pub bytes: u64,
}

/// An end that is looked for.
#[derive(Debug, PartialEq, Eq)]
pub enum KeptEnd<'a, C> {
    /// It is here.
    Kept(&'a C),
    /// It was here, or was before all that is kept.
    Gone,
    /// It has not come.
    Unseen,
}

#[derive(Debug)]
struct KeptEntry<C> {
    /// Its place in the order of ends.
    place: u64,
    bytes: u64,
    content: C,
}

/// The latest ends, one for each item.
#[derive(Debug)]
pub struct KeptEnds<C> {
    bounds: KeepBounds,
    kept: BTreeMap<ItemId, KeptEntry<C>>,
    /// The items in the order of their ends.
    order: BTreeMap<u64, ItemId>,
    next_place: u64,
    bytes: u64,
    /// All items whose end was ever here: runs of numbers, the first and the last of each.
    seen: BTreeMap<u64, u64>,
}

impl<C> KeptEnds<C> {
    /// Keeps nothing yet.
    #[must_use]
    pub fn new(bounds: KeepBounds) -> Self {
        KeptEnds {
            bounds,
            kept: BTreeMap::new(),
            order: BTreeMap::new(),
            next_place: 0,
            bytes: 0,
            seen: BTreeMap::new(),
        }
    }

    /// Notes that all items up to this one but the unfinished have ended before.
    pub fn handle_earlier(&mut self, accepted: ItemId, unfinished: &BTreeSet<ItemId>) {
        let mut first = 1;
        for open in unfinished.range(..=accepted) {
            if open.0 > first {
                self.seen.insert(first, open.0 - 1);
            }
            first = open.0 + 1;
        }
        if first <= accepted.0 {
            self.seen.insert(first, accepted.0);
        }
    }

    /// Keeps the end of an item, in place of an earlier one. Returns what is not kept any more, oldest
    /// first.
    pub fn handle_end(&mut self, id: ItemId, bytes: u64, content: C) -> Vec<(ItemId, C)> {
        let mut gone = Vec::new();
        if let Some(before) = self.remove(id) {
            gone.push((id, before));
        }
        let place = self.next_place;
        self.next_place += 1;
        self.order.insert(place, id);
        self.bytes = self.bytes.saturating_add(bytes);
        let entry = KeptEntry {
            place,
            bytes,
            content,
        };
        self.kept.insert(id, entry);
        self.note_seen(id.0);
        while self.kept.len() > 1 && self.is_beyond() {
            let Some((_, &oldest)) = self.order.first_key_value() else {
                break;
            };
            gone.extend(self.remove(oldest).map(|content| (oldest, content)));
        }
        gone
    }

    /// Keeps those no more that take what is needed now, and returns them.
    pub fn handle_lack(&mut self, takes_it: impl Fn(&C) -> bool) -> Vec<(ItemId, C)> {
        let kept = self.kept.iter();
        let taking = kept.filter(|(_, entry)| takes_it(&entry.content));
        let taking: Vec<ItemId> = taking.map(|(id, _)| *id).collect();
        let gone = taking.into_iter();
        gone.filter_map(|id| Some((id, self.remove(id)?))).collect()
    }

    fn is_beyond(&self) -> bool {
        self.kept.len() > self.bounds.items || self.bytes > self.bounds.bytes
    }

    fn remove(&mut self, id: ItemId) -> Option<C> {
        let entry = self.kept.remove(&id)?;
        self.order.remove(&entry.place);
        self.bytes -= entry.bytes;
        Some(entry.content)
    }

    /// Adds a number to the runs.
    fn note_seen(&mut self, number: u64) {
        let mut run = (number, number);
        if let Some((&first, &last)) = self.seen.range(..=number).next_back() {
            if last >= number {
                return;
            }
            if last + 1 == number {
                run.0 = first;
            }
        }
        if let Some(last) = number
            .checked_add(1)
            .and_then(|next| self.seen.remove(&next))
        {
            run.1 = last;
        }
        self.seen.insert(run.0, run.1);
    }

    /// Looks for the end of an item.
    #[must_use]
    pub fn find(&self, id: ItemId) -> KeptEnd<'_, C> {
        if let Some(entry) = self.kept.get(&id) {
            return KeptEnd::Kept(&entry.content);
        }
        let run = self.seen.range(..=id.0).next_back();
        match run.is_some_and(|(_, last)| *last >= id.0) {
            true => KeptEnd::Gone,
            false => KeptEnd::Unseen,
        }
    }

    /// Returns all that is kept, in the order of the items.
    pub fn iter(&self) -> impl Iterator<Item = (ItemId, &C)> {
        self.kept.iter().map(|(id, entry)| (*id, &entry.content))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn ids(gone: Vec<(ItemId, u32)>) -> Vec<u64> {
        gone.into_iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_large() {
        let mut ends = KeptEnds::new(KeepBounds {
            items: 3,
            bytes: 10,
        });
        for id in [4, 1, 2] {
            assert!(ends.handle_end(ItemId(id), 1, 0).is_empty());
        }
        assert_eq!(ids(ends.handle_end(ItemId(7), 1, 0)), [4]);
        assert_eq!(ids(ends.handle_end(ItemId(8), 9, 0)), [1, 2]);
        // The last one is kept whatever its size.
        assert_eq!(ids(ends.handle_end(ItemId(9), 11, 0)), [7, 8]);
        assert_eq!(ends.find(ItemId(9)), KeptEnd::Kept(&0));
        assert_eq!(ids(ends.handle_end(ItemId(10), 1, 0)), [9]);
    }

    #[test]
    fn a_later_end_of_an_item_takes_the_place_of_its_earlier_one() {
        let mut ends = KeptEnds::new(KeepBounds {
            items: 2,
            bytes: 10,
        });
        ends.handle_end(ItemId(1), 8, 1);
        ends.handle_end(ItemId(2), 1, 2);
        assert_eq!(ends.handle_end(ItemId(1), 1, 3), [(ItemId(1), 1)]);
        assert_eq!(ends.find(ItemId(1)), KeptEnd::Kept(&3));
        // It is the later one now.
        assert_eq!(ids(ends.handle_end(ItemId(3), 1, 4)), [2]);
    }

    #[test]
    fn what_takes_too_scarce_a_thing_goes_and_the_rest_stays() {
        let mut ends = KeptEnds::new(KeepBounds {
            items: 4,
            bytes: 10,
        });
        for id in 1..=4 {
            ends.handle_end(ItemId(id), id, id % 2);
        }
        let gone = ends.handle_lack(|content| *content == 0);
        assert_eq!(gone, [(ItemId(2), 0), (ItemId(4), 0)]);
        assert_eq!(
            (ends.find(ItemId(2)), ends.find(ItemId(3))),
            (KeptEnd::Gone, KeptEnd::Kept(&1))
        );
        // There is room for as much again.
        assert!(ends.handle_end(ItemId(5), 6, 1).is_empty());
    }

    #[test]
    fn what_ended_before_is_gone_and_what_is_open_is_unseen() {
        let mut ends = KeptEnds::<u32>::new(KeepBounds { items: 1, bytes: 1 });
        let unfinished = [1, 4, 9].map(ItemId).into();
        ends.handle_earlier(ItemId(9), &unfinished);
        let is_unseen = |id: &u64| ends.find(ItemId(*id)) == KeptEnd::Unseen;
        let unseen: Vec<u64> = (0..12).filter(is_unseen).collect();
        assert_eq!(unseen, [0, 1, 4, 9, 10, 11]);
    }

    proptest! {
        /// The runs of what was seen are as good as a set, and no longer than they must be.
        #[test]
        fn nothing_that_has_ended_is_unseen(
            steps in prop::collection::vec((1..40_u64, 0..5_u64), 0..80),
            items in 1..6_usize,
            bytes in 0..12_u64,
        ) {
            let mut ends = KeptEnds::new(KeepBounds { items, bytes });
            let mut model: Vec<(u64, u64)> = vec![];
            let mut seen = BTreeSet::new();
            for (id, size) in steps {
                model.retain(|(other, _)| *other != id);
                model.push((id, size));
                seen.insert(id);
                let sum = |model: &[(u64, u64)]| model.iter().map(|(_, size)| size).sum::<u64>();
                while model.len() > 1 && (model.len() > items || sum(&model) > bytes) {
                    model.remove(0);
                }
                ends.handle_end(ItemId(id), size, ());
                let kept: Vec<u64> = ends.iter().map(|(id, ())| id.0).collect();
                let expected: BTreeSet<u64> = model.iter().map(|(id, _)| *id).collect();
                prop_assert_eq!(kept, expected.iter().copied().collect::<Vec<_>>());
                for id in 0..42 {
                    let found = match (expected.contains(&id), seen.contains(&id)) {
                        (true, _) => KeptEnd::Kept(&()),
                        (false, true) => KeptEnd::Gone,
                        (false, false) => KeptEnd::Unseen,
                    };
                    prop_assert_eq!(ends.find(ItemId(id)), found);
                }
                let runs: Vec<_> = ends.seen.iter().collect();
                prop_assert!(runs.windows(2).all(|two| two[0].1 + 1 < *two[1].0));
            }
        }
    }
}
