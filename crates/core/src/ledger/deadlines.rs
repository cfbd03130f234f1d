//! Deadlines: an item that no holder has at its deadline is given up, not begun. One that a holder has
//! goes on; if it comes back, it is given up then. Times are since any fixed start; the caller says when
//! an item is given up.

use alloc::collections::BTreeSet;
use core::time::Duration;

use super::order::ItemTimes;
use super::{Ballot, ItemId, Ledger, Weight};

/// The number of deadlines from which on those of items that are over are dropped.
const MANY: usize = 1024;

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Returns the next item that no holder has and whose deadline has come by now. The caller gives it
    /// up by [`handle_condemned`](Self::handle_condemned).
    pub fn poll_overdue(&mut self, now: Duration) -> Option<ItemId> {
        self.drop_deadlines();
        loop {
            let id = self.waiting.times_mut()?.pop_deadline(now)?;
            // What is not durable yet is given up once it is.
            let is_staged = self.waiting.is_staged(id);
            if is_staged || self.copies.has(id) || self.is_leased(id) {
                self.waiting.times_mut()?.note_overdue(id);
            } else if self.is_here(id) {
                return Some(id);
            }
        }
    }

    /// Returns `true` if the time matters for what is handed out or accepted next:
    /// [`handle_timeout`](Self::handle_timeout) must be called before, and
    /// [`poll_overdue`](Self::poll_overdue).
    #[must_use]
    pub fn is_timed(&self) -> bool {
        let times = self.waiting.times();
        let has_deadlines = times.is_some_and(ItemTimes::has_deadlines);
        has_deadlines || self.has_rate() || self.has_unique_keys()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.waiting.times().and_then(ItemTimes::next_deadline)
    }

    fn is_leased(&self, id: ItemId) -> bool {
        let mut leases = self.leases.iter();
        leases.any(|(_, lease)| lease.entry.id == id)
    }

    /// Returns `true` if an item waits or rests.
    fn is_here(&self, id: ItemId) -> bool {
        let waiting = &self.waiting;
        waiting.resting(id).is_some()
            || waiting.returned(id).is_some()
            || waiting.fresh(id).is_some()
    }

    /// Drops the deadlines of items that are over, once they are many.
    fn drop_deadlines(&mut self) {
        let count = self.waiting.times().map_or(0, ItemTimes::deadlines);
        let unfinished = usize::try_from(self.counts().unfinished()).unwrap_or(usize::MAX);
        if count > MANY.max(unfinished.saturating_mul(2)) {
            let unfinished: BTreeSet<ItemId> = self.unfinished_ids().into_iter().collect();
            if let Some(times) = self.waiting.times_mut() {
                times.keep_deadlines(&unfinished);
            }
        }
    }
}
