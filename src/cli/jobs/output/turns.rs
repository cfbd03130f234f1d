//! PURE: things that come in any order and are wanted in that of their items.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::ItemId;

/// What has come and waits for its turn.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// Items of earlier runs that have not had their turn.
    old: BTreeSet<ItemId>,
    /// The first new item that has not had its turn.
    next: ItemId,
    waiting: BTreeMap<ItemId, T>,
}

impl<T> Turns<T> {
    /// These items, which were accepted before, and then all new ones: those after `accepted`.
    pub(super) fn new(old: BTreeSet<ItemId>, accepted: u64) -> Self {
        Turns {
            old,
            next: ItemId(accepted + 1),
            waiting: BTreeMap::new(),
        }
    }

    fn turn(&self) -> ItemId {
        self.old.first().copied().unwrap_or(self.next)
    }

    /// Whether it is this item's turn.
    pub(super) fn is_at(&self, id: ItemId) -> bool {
        self.turn() == id
    }

    pub(super) fn add(&mut self, id: ItemId, thing: T) {
        self.waiting.insert(id, thing);
    }

    /// The thing whose turn it is, if it has come.
    pub(super) fn next(&mut self) -> Option<T> {
        let thing = self.waiting.remove(&self.turn())?;
        if self.old.pop_first().is_none() {
            self.next.0 += 1;
        }
        Some(thing)
    }

    /// What waits for items that will not come any more, in order.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.waiting).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_the_order_of_their_items_old_ones_first() {
        let mut turns = Turns::new([ItemId(2), ItemId(5)].into(), 7);
        let mut told = Vec::new();
        for id in [9, 8, 5, 10, 2] {
            turns.add(ItemId(id), id);
            told.extend(std::iter::from_fn(|| turns.next()));
        }
        assert_eq!(told, [2, 5, 8, 9, 10]);
        assert!(turns.is_at(ItemId(11)));
    }

    #[test]
    fn what_waits_at_the_end_is_not_forgotten() {
        let mut turns = Turns::new([].into(), 0);
        for id in [3, 2] {
            turns.add(ItemId(id), id);
        }
        assert_eq!(turns.next(), None);
        assert_eq!(turns.rest().collect::<Vec<_>>(), [2, 3]);
    }
}
