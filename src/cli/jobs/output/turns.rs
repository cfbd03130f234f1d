//! PURE: brings things into the order of their items.

use std::collections::{BTreeMap, VecDeque};

use crate::ItemId;

/// Things that wait for their turn.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// Items of earlier runs, with the number of turns that each still has.
    old: BTreeMap<ItemId, usize>,
    /// The first new item that has not had its turn.
    next: ItemId,
    /// In the order of their arrival.
    waiting: BTreeMap<ItemId, VecDeque<T>>,
}

impl<T> Turns<T> {
    /// Makes the turns: first these items, which were accepted before, each as often as it is
    /// named; then all new ones, which come after `accepted`.
    pub(super) fn new(items: impl IntoIterator<Item = ItemId>, accepted: u64) -> Self {
        let mut old = BTreeMap::new();
        for id in items {
            *old.entry(id).or_insert(0) += 1;
        }
        Turns {
            old,
            next: ItemId(accepted + 1),
            waiting: BTreeMap::new(),
        }
    }

    fn turn(&self) -> ItemId {
        self.old.keys().next().copied().unwrap_or(self.next)
    }

    /// Returns `true` if it is this item's turn.
    pub(super) fn is_at(&self, id: ItemId) -> bool {
        self.turn() == id
    }

    pub(super) fn add(&mut self, id: ItemId, thing: T) {
        self.waiting.entry(id).or_default().push_back(thing);
    }

    /// Returns the thing whose turn it is, if it has come.
    pub(super) fn next(&mut self) -> Option<T> {
        let turn = self.turn();
        let things = self.waiting.get_mut(&turn)?;
        let thing = things.pop_front()?;
        if things.is_empty() {
            self.waiting.remove(&turn);
        }
        match self.old.first_entry() {
            None => self.next.0 += 1,
            Some(mut left) if *left.get() > 1 => *left.get_mut() -= 1,
            Some(left) => drop(left.remove()),
        }
        Some(thing)
    }

    /// Returns the things that wait for items that will not come any more, in order.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = T> + use<T> {
        std::mem::take(&mut self.waiting).into_values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_in_the_order_of_their_items_old_ones_first() {
        let mut turns = Turns::new([ItemId(2), ItemId(5)], 7);
        let mut told = Vec::new();
        for id in [9, 8, 5, 10, 2] {
            turns.add(ItemId(id), id);
            told.extend(std::iter::from_fn(|| turns.next()));
        }
        assert_eq!(told, [2, 5, 8, 9, 10]);
        assert!(turns.is_at(ItemId(11)));
    }

    #[test]
    fn an_item_that_ends_twice_has_two_turns() {
        let mut turns = Turns::new([ItemId(1), ItemId(2), ItemId(2)], 2);
        let mut told = Vec::new();
        for (id, thing) in [(2, "first"), (2, "second"), (3, "new"), (1, "before")] {
            turns.add(ItemId(id), thing);
            told.extend(std::iter::from_fn(|| turns.next()));
        }
        assert_eq!(told, ["before", "first", "second", "new"]);
    }

    #[test]
    fn what_waits_at_the_end_is_not_forgotten() {
        let mut turns = Turns::new([], 0);
        for id in [3, 2] {
            turns.add(ItemId(id), id);
        }
        assert_eq!(turns.next(), None);
        assert_eq!(turns.rest().collect::<Vec<_>>(), [2, 3]);
    }
}
