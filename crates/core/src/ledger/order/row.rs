//! The row of items that were never handed out, by their numbers, and lists of them. It knows no ranks and
//! no holders.
//!
//! An item that is taken out of the middle leaves a gap, which goes when it comes to the front: the first
//! place is never a gap. Each item names the next one of the list that it is in, so that this costs 4 bytes, and
//! its line, which costs 4 more. A list begins with an item, never with a gap.

use alloc::collections::VecDeque;
use core::ops::RangeInclusive;

use super::rank::LineId;
use crate::ledger::ItemId;

/// The number of gaps that the row may have besides those for which it has room.
const GAPS: usize = 64;

/// An item that was never handed out, or the gap that it has left.
#[derive(Debug)]
struct RowPlace<P> {
    payload: Option<P>,
    line: LineId,
    /// The distance to the next item of its list; 0 if there is none.
    next: u32,
}

impl<P> RowPlace<P> {
    /// Returns the number of the next item of its list, of which it has this one; 0 if there is none.
    #[inline]
    fn after(&self, id: u64) -> u64 {
        match self.next {
            0 => 0,
            next => id + u64::from(next),
        }
    }
}

/// The first and the last item of a list; 0 if there is none. The last one may be a gap.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowList {
    pub(super) head: u64,
    tail: u64,
}

/// The gaps of a row, a bit for each of its places: those at its front go without a look at their places, which are
/// long out of a processor's caches.
#[derive(Debug, Default)]
struct RowGaps {
    /// The bits, from those of the 64 numbers on among which the row begins.
    words: VecDeque<u64>,
    count: usize,
}

impl RowGaps {
    /// Makes room for the place of this number, with which a row that begins with `first` goes on.
    #[inline]
    fn cover(&mut self, first: u64, id: u64) {
        if id / 64 - first / 64 == self.words.len() as u64 {
            self.words.push_back(0);
        }
    }

    /// Notes a gap in a row that begins with `first`.
    #[inline]
    fn add(&mut self, first: u64, id: u64) {
        let word = usize::try_from(id / 64 - first / 64).unwrap_or(usize::MAX);
        self.words[word] |= 1 << (id % 64);
        self.count += 1;
    }

    /// Forgets gaps with which a row begins whose first number is this, up to the next multiple of 64. Returns their
    /// number.
    #[inline]
    fn pop_front(&mut self, first: u64) -> u32 {
        let begin = (first % 64) as u32;
        let word = self.words.front().map_or(0, |word| word >> begin);
        let gaps = word.trailing_ones();
        if begin + gaps == 64 {
            self.words.pop_front();
        }
        self.count -= gaps as usize;
        gaps
    }
}

#[derive(Debug)]
pub(super) struct ItemRow<P> {
    places: VecDeque<RowPlace<P>>,
    /// The number of the item in the first place.
    first: u64,
    gaps: RowGaps,
}

impl<P> ItemRow<P> {
    pub(super) fn new() -> Self {
        ItemRow {
            places: VecDeque::new(),
            first: 1,
            gaps: RowGaps::default(),
        }
    }

    /// Makes room for so many items.
    pub(super) fn reserve(&mut self, items: usize) {
        self.places.reserve(items);
    }

    /// Returns the number of places, with gaps.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns the number of items.
    pub(super) fn items(&self) -> usize {
        self.places.len() - self.gaps.count
    }

    /// Returns `true` if it would have to grow although there is little in it.
    #[inline]
    pub(super) fn is_long(&self) -> bool {
        self.places.len() == self.places.capacity() && self.places.len() > 4 * self.items() + GAPS
    }

    /// Returns the place of a number, counted from 0.
    #[inline]
    pub(super) fn place(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_sub(self.first)?).ok()
    }

    #[inline]
    fn at(&self, id: u64) -> Option<&RowPlace<P>> {
        self.places.get(self.place(id)?)
    }

    /// Returns the number of the item in a place.
    pub(super) fn number(&self, place: usize) -> u64 {
        self.first + place as u64
    }

    pub(super) fn payload(&self, id: u64) -> Option<&P> {
        self.get(id).map(|(payload, _)| payload)
    }

    /// Returns an item and its line.
    #[inline]
    pub(super) fn get(&self, id: u64) -> Option<(&P, LineId)> {
        let place = self.at(id)?;
        Some((place.payload.as_ref()?, place.line))
    }

    /// Returns the line of an item; 0 if it is not here.
    pub(super) fn line(&self, id: u64) -> LineId {
        self.at(id).map_or(0, |place| place.line)
    }

    /// Returns the gaps with these numbers.
    pub(super) fn gaps_in(
        &self,
        numbers: RangeInclusive<ItemId>,
    ) -> impl Iterator<Item = ItemId> + '_ {
        let last = self.number(self.places.len()).saturating_sub(1);
        let numbers = numbers.start().0.max(self.first)..=numbers.end().0.min(last);
        let is_gap = |id: &u64| self.at(*id).is_some_and(|place| place.payload.is_none());
        numbers.filter(is_gap).map(ItemId)
    }

    /// Adds the next item, which has this number, the one after the last, and is in no list.
    pub(super) fn push(&mut self, id: u64, payload: P, line: LineId) {
        if self.places.is_empty() {
            self.first = id;
            self.gaps.words.clear();
        }
        self.gaps.cover(self.first, id);
        self.places.push_back(RowPlace {
            payload: Some(payload),
            line,
            next: 0,
        });
    }

    /// Drops the last item, which is in no list, and returns its line.
    pub(super) fn pop_last(&mut self) -> Option<LineId> {
        self.places.pop_back().map(|place| place.line)
    }

    /// Takes an item out of the row. The list that begins with it must have [passed](Self::pass) it.
    pub(super) fn take(&mut self, id: u64) -> Option<(P, LineId)> {
        self.taking().take(id)
    }

    /// Lets many items be taken out of the row.
    pub(super) fn taking(&mut self) -> Taking<'_, P> {
        Taking { row: self }
    }

    /// Drops the gaps from the front.
    fn close_gaps(&mut self) {
        loop {
            let gaps = self.gaps.pop_front(self.first);
            if gaps == 0 {
                return;
            }
            for _ in 0..gaps {
                // There is nothing to drop, so its place is not read.
                core::mem::forget(self.places.pop_front());
            }
            self.first += u64::from(gaps);
        }
    }

    /// Returns the number and the line of the first item.
    pub(super) fn front(&self) -> Option<(u64, LineId)> {
        self.places.front().map(|front| (self.first, front.line))
    }

    /// Adds an item to the end of a list, behind lower numbers.
    pub(super) fn append(&mut self, list: &mut RowList, id: u64) {
        if list.head == 0 {
            list.head = id;
        } else if let Some(place) = self.place(list.tail)
            && let Some(tail) = self.places.get_mut(place)
        {
            tail.next = u32::try_from(id - list.tail).unwrap_or(0);
        }
        list.tail = id;
    }

    /// Lets a list begin with its next item.
    #[inline]
    pub(super) fn pass(&self, list: &mut RowList) {
        let head = list.head;
        list.head = self.at(head).map_or(0, |place| place.after(head));
        self.pass_gaps(list);
    }

    /// Lets a list begin with an item.
    #[inline]
    fn pass_gaps(&self, list: &mut RowList) {
        while list.head != 0 {
            match self.at(list.head) {
                Some(place) if place.payload.is_some() => return,
                gap => list.head = gap.map_or(0, |place| place.after(list.head)),
            }
        }
    }

    /// Takes the first item out of a list. It stays in the row.
    pub(super) fn unlink(&mut self, list: &mut RowList) {
        let head = list.head;
        self.pass(list);
        if let Some(place) = self.place(head)
            && let Some(place) = self.places.get_mut(place)
        {
            place.next = 0;
        }
    }
}

/// Takes items out of a row, of which the lists that begin with them have [passed](ItemRow::pass) them.
pub(super) struct Taking<'a, P> {
    row: &'a mut ItemRow<P>,
}

impl<P> Taking<'_, P> {
    #[inline]
    pub(super) fn take(&mut self, id: u64) -> Option<(P, LineId)> {
        let place = self.row.place(id)?;
        let place = self.row.places.get_mut(place)?;
        let payload = place.payload.take()?;
        self.row.gaps.add(self.row.first, id);
        Some((payload, place.line))
    }
}

impl<P> Drop for Taking<'_, P> {
    fn drop(&mut self) {
        self.row.close_gaps();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    /// Two lists over one row agree with two sets, whatever is taken, moved and dropped.
    #[test]
    fn lists_agree_with_sets() {
        // Hundreds, because gaps are noted 64 together.
        let steps = proptest::collection::vec(proptest::prelude::any::<(u8, u8)>(), 0..500);
        proptest::proptest!(|(steps in steps)| {
            let mut row = ItemRow::new();
            let mut lists = [RowList::default(); 2];
            let mut sets = [BTreeSet::new(), BTreeSet::new()];
            let mut next = 1;
            for (what, pick) in steps {
                let at = usize::from(pick % 2);
                match what % 5 {
                    // Some of a list's first items are taken in one go.
                    4 => {
                        let mut passed = Vec::new();
                        while lists[at].head > 0 && passed.len() < usize::from(pick / 16) {
                            passed.push(lists[at].head);
                            row.pass(&mut lists[at]);
                        }
                        let mut taking = row.taking();
                        for id in passed {
                            proptest::prop_assert_eq!(taking.take(id), Some((id, 1)));
                            proptest::prop_assert_eq!(sets[at].pop_first(), Some(id));
                        }
                    }
                    0 | 1 => {
                        row.push(next, next, 1);
                        row.append(&mut lists[at], next);
                        sets[at].insert(next);
                        next += 1;
                    }
                    2 => {
                        let id = u64::from(pick) % next;
                        for list in lists.iter_mut().filter(|list| list.head == id && id > 0) {
                            row.pass(list);
                        }
                        let taken = row.take(id).map(|(payload, _)| payload);
                        let was_there = sets.iter_mut().any(|set| set.remove(&id));
                        proptest::prop_assert_eq!(taken, was_there.then_some(id));
                    }
                    _ => {
                        let first = sets.iter().filter_map(BTreeSet::first).min().copied();
                        proptest::prop_assert_eq!(row.front(), first.map(|id| (id, 1)));
                        if let Some(first) = first {
                            for list in lists.iter_mut().filter(|list| list.head == first) {
                                row.pass(list);
                            }
                            sets.iter_mut().for_each(|set| { set.remove(&first); });
                            proptest::prop_assert_eq!(row.take(first), Some((first, 1)));
                        }
                    }
                }
                proptest::prop_assert_eq!(row.items(), sets.iter().map(BTreeSet::len).sum::<usize>());
                let front = sets.iter().filter_map(BTreeSet::first).min().copied();
                proptest::prop_assert_eq!(row.front(), front.map(|id| (id, 1)));
                for (list, set) in lists.iter().zip(&sets) {
                    let mut list = *list;
                    let mut seen = Vec::new();
                    while list.head > 0 {
                        seen.push(list.head);
                        row.pass(&mut list);
                    }
                    proptest::prop_assert!(seen.iter().eq(set));
                }
            }
        });
    }
}
