//! One priority: its new items, the first items of its lines as far as their keys have room, and for how long
//! others were served in its place. It knows no keys.

use alloc::collections::{BinaryHeap, VecDeque};
use core::cmp::Reverse;

use super::rank::LineId;
use super::row::RowList;

/// The number of times in a row for which a priority is passed over by higher ones.
const PATIENCE: u64 = 32;

/// The first item of a line, by its number.
pub(super) type Offer = (u64, LineId);

#[derive(Debug)]
pub(super) struct Level {
    pub(super) priority: i8,
    /// Items in the row that were not looked at yet.
    pub(super) new: RowList,
    pub(super) offers: Offers,
    waiting: u64,
    /// While items of it wait, the number of all that were handed out until its last one was, or would have been
    /// if items of it had waited all the time. While none does, for how many it was passed over.
    since: u64,
}

impl Level {
    pub(super) fn new(priority: i8) -> Self {
        Level {
            priority,
            new: RowList::default(),
            offers: Offers::default(),
            waiting: 0,
            since: 0,
        }
    }

    /// Notes that one more of its items waits, when so many of all were handed out. Returns `true` if none did.
    #[inline]
    pub(super) fn enter(&mut self, served: u64) -> bool {
        let was_empty = self.waiting == 0;
        if was_empty {
            self.since = served - self.since;
        }
        self.waiting += 1;
        was_empty
    }

    /// Notes that one of its items does not wait any more, when so many of all were handed out.
    #[inline]
    pub(super) fn leave(&mut self, served: u64) {
        self.waiting -= 1;
        if self.waiting == 0 {
            self.since = served - self.since;
        }
    }

    /// Returns `true` if none of its items waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Notes that so many of its items, one or more, are handed out one after the other, the last one as this one
    /// of all.
    #[inline]
    pub(super) fn serve(&mut self, count: u64, served: u64) {
        self.waiting -= count;
        // While none waits it was passed over by nobody.
        self.since = if self.waiting > 0 { served } else { 0 };
    }

    /// Returns the number of all handed out from which on its turn has come; `None` while none of its items
    /// waits.
    pub(super) fn patient_until(&self) -> Option<u64> {
        (self.waiting > 0).then_some(self.since + PATIENCE)
    }

    /// Returns the number of items of others that were handed out since its last one, while some of it waited.
    fn passed_over(&self, served: u64) -> u64 {
        match self.waiting {
            0 => self.since,
            _ => served - self.since,
        }
    }

    /// Returns `true` if it is looked at although a higher one has an item ready, of which it may take the
    /// turn.
    pub(super) fn is_overdue(&self, ready: &Level, served: u64) -> bool {
        let passed_over = self.passed_over(served);
        passed_over >= PATIENCE && passed_over > ready.passed_over(served)
    }
}

/// The offers of lines, the lowest number first. Keys have room again nearly in the order in which they got full, so
/// most offers follow each other, and only the others need a heap.
#[derive(Debug, Default)]
pub(super) struct Offers {
    rising: VecDeque<Offer>,
    others: BinaryHeap<Reverse<Offer>>,
}

impl Offers {
    #[inline]
    pub(super) fn push(&mut self, offer: Offer) {
        match self.rising.back() {
            Some(last) if *last > offer => self.others.push(Reverse(offer)),
            _ => self.rising.push_back(offer),
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rising.is_empty() && self.others.is_empty()
    }

    /// Returns `true` if the first one is not among those that follow each other.
    fn is_other_first(&self) -> bool {
        match (self.rising.front(), self.others.peek()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(one), Some(Reverse(other))) => other < one,
        }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<Offer> {
        match self.is_other_first() {
            true => self.others.peek().map(|Reverse(offer)| *offer),
            false => self.rising.front().copied(),
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Offer> {
        match self.is_other_first() {
            true => self.others.pop().map(|Reverse(offer)| offer),
            false => self.rising.pop_front(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Offer> + '_ {
        let others = self.others.iter().map(|Reverse(offer)| *offer);
        others.chain(self.rising.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    #[test]
    fn offers_come_by_their_numbers() {
        proptest::proptest!(|(steps: Vec<Option<(u64, u32)>>)| {
            let (mut offers, mut model) = (Offers::default(), BTreeSet::new());
            for step in steps {
                match step {
                    None => proptest::prop_assert_eq!(offers.pop(), model.pop_first()),
                    Some(offer) if model.insert(offer) => offers.push(offer),
                    Some(_) => {}
                }
                proptest::prop_assert_eq!(offers.peek(), model.first().copied());
                proptest::prop_assert_eq!(offers.iter().collect::<BTreeSet<_>>(), model.clone());
            }
        });
    }
}
