//! The times of items: before which they rest, and from which on they are given up. Times are since any
//! fixed start. It does not know where an item is.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use super::rank::Rank;
use crate::ledger::ItemId;

#[derive(Debug, Default)]
pub(in crate::ledger) struct ItemTimes {
    /// Items in the row that are to rest until this time.
    pub(in crate::ledger) early: VecDeque<(ItemId, Duration)>,
    /// Items that rest until they are unblocked, and the time until which they rest then.
    pub(in crate::ledger) blocked: BTreeMap<ItemId, Duration>,
    /// The deadlines of items, of which some may be over.
    deadlines: BTreeSet<(Duration, ItemId)>,
    /// Items that holders had at their deadlines.
    overdue: BTreeSet<ItemId>,
    /// The time, as far as deadlines were looked at.
    now: Duration,
    /// True if there may be deadlines.
    is_wanted: bool,
}

impl ItemTimes {
    pub(super) fn new(has_deadlines: bool) -> Self {
        ItemTimes {
            is_wanted: has_deadlines,
            ..ItemTimes::default()
        }
    }

    /// Returns `true` if items have deadlines, or may have some.
    pub(in crate::ledger) fn has_deadlines(&self) -> bool {
        self.is_wanted || !self.deadlines.is_empty()
    }

    /// Returns `true` if items in the row are to rest.
    pub(in crate::ledger) fn has_early(&self) -> bool {
        !self.early.is_empty()
    }

    /// Returns the first deadline.
    pub(in crate::ledger) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes an item whose deadline has come by now.
    pub(in crate::ledger) fn pop_deadline(&mut self, now: Duration) -> Option<ItemId> {
        self.now = self.now.max(now);
        let (at, _) = self.deadlines.first()?;
        match *at <= now {
            true => self.deadlines.pop_first().map(|(_, id)| id),
            false => None,
        }
    }

    /// Notes that a holder has an item at its deadline.
    pub(in crate::ledger) fn note_overdue(&mut self, id: ItemId) {
        self.overdue.insert(id);
    }

    /// Notes that an item comes back, or is durable. Returns `true` if its deadline came meanwhile: then it is to be
    /// given up at once.
    pub(in crate::ledger) fn comes_back_late(&mut self, id: ItemId) -> bool {
        let is_late = !self.overdue.is_empty() && self.overdue.remove(&id);
        if is_late {
            self.deadlines.insert((Duration::ZERO, id));
        }
        is_late
    }

    /// Forgets the deadline of an item, also if a holder had the item when that came.
    pub(super) fn forget(&mut self, id: ItemId, rank: Rank) {
        self.overdue.remove(&id);
        if let Some(deadline) = rank.deadline {
            self.deadlines.remove(&(deadline, id));
        }
    }

    /// Returns the number of deadlines, and of items that were late.
    pub(in crate::ledger) fn deadlines(&self) -> usize {
        self.deadlines.len() + self.overdue.len()
    }

    /// Drops the deadlines of items that have their end.
    pub(in crate::ledger) fn keep_deadlines(&mut self, unfinished: &BTreeSet<ItemId>) {
        self.deadlines.retain(|(_, id)| unfinished.contains(id));
        self.overdue.retain(|id| unfinished.contains(id));
    }

    /// Notes the times of an item. Returns the time until which it rests; one that comes at its deadline or
    /// later rests until it is given up.
    pub(super) fn note(&mut self, id: ItemId, rank: Rank) -> Option<Duration> {
        if let Some(deadline) = rank.deadline {
            self.deadlines.insert((deadline, id));
            if deadline <= self.now {
                return Some(Duration::MAX);
            }
        }
        rank.not_before
    }
}
