//! Items that rest: by the time at which their rest is over, and by their numbers. It does not know
//! why they rest, nor what becomes of them.

use alloc::collections::BTreeMap;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::ItemId;

#[derive(Debug)]
pub(super) struct Rests<V> {
    by_time: BTreeMap<(Duration, ItemId), V>,
    by_id: BTreeMap<ItemId, Duration>,
}

impl<V> Rests<V> {
    pub(super) fn new() -> Self {
        Rests {
            by_time: BTreeMap::new(),
            by_id: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }

    pub(super) fn insert(&mut self, id: ItemId, until: Duration, value: V) {
        self.by_time.insert((until, id), value);
        self.by_id.insert(id, until);
    }

    pub(super) fn each(&mut self, change: impl FnMut(&mut V)) {
        self.by_time.values_mut().for_each(change);
    }

    pub(super) fn remove(&mut self, id: ItemId) -> Option<V> {
        let until = self.by_id.remove(&id)?;
        self.by_time.remove(&(until, id))
    }

    /// Takes an item whose rest is over at this time, the earliest first.
    pub(super) fn pop(&mut self, now: Duration) -> Option<V> {
        let first = self.by_time.first_entry()?;
        let (until, id) = *first.key();
        if until > now {
            return None;
        }
        self.by_id.remove(&id);
        Some(first.remove())
    }

    /// Returns the time at which the first rest is over.
    pub(super) fn next(&self) -> Option<Duration> {
        let ((until, _), _) = self.by_time.first_key_value()?;
        Some(*until)
    }

    /// Returns this item and the end of its rest, if it rests.
    pub(super) fn get(&self, id: ItemId) -> Option<(Duration, &V)> {
        let until = *self.by_id.get(&id)?;
        Some((until, self.by_time.get(&(until, id))?))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ItemId> {
        self.by_id.keys().copied()
    }

    /// Returns the items with these numbers, in their order.
    pub(super) fn ids_in(&self, numbers: RangeInclusive<ItemId>) -> impl Iterator<Item = ItemId> {
        self.by_id.range(numbers).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn they_end_in_the_order_of_time_and_are_found_by_number() {
        let at = Duration::from_secs;
        let mut rests = Rests::new();
        for (id, until) in [(5, 30), (9, 10), (2, 20)] {
            rests.insert(ItemId(id), at(until), id);
        }
        assert_eq!(rests.get(ItemId(9)), Some((at(10), &9)));
        assert!(rests.ids().map(|id| id.0).eq([2, 5, 9]));
        let some: Vec<_> = rests.ids_in(ItemId(3)..=ItemId(9)).collect();
        assert_eq!(some, [ItemId(5), ItemId(9)]);
        assert_eq!((rests.next(), rests.pop(at(9))), (Some(at(10)), None));
        assert_eq!((rests.pop(at(10)), rests.get(ItemId(9))), (Some(9), None));
        assert_eq!(
            (rests.remove(ItemId(5)), rests.remove(ItemId(5))),
            (Some(5), None)
        );
        assert_eq!((rests.pop(Duration::MAX), rests.len()), (Some(2), 0));
    }
}
