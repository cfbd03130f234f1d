//! An item without an end, with its past. It does not know where the item is.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::{Cause, Failure, ItemId, Options, Unfinished};

/// An accepted item that has no terminal state.
#[derive(Debug)]
pub(super) struct UnfinishedItem<P> {
    pub(super) id: ItemId,
    pub(super) payload: P,
    /// The item's past; almost every item has none, and needs no allocation.
    past: Option<Box<Past>>,
    /// Its line, where there is an order; else 0.
    pub(super) line: u32,
}

#[derive(Debug, Default)]
struct Past {
    failures: Vec<Failure>,
    /// The number of failures that no longer count, because it was a dead letter and is tried
    /// again.
    forgiven: u32,
}

impl<P> UnfinishedItem<P> {
    pub(super) fn new(id: ItemId, payload: P) -> Self {
        UnfinishedItem {
            id,
            payload,
            past: None,
            line: 0,
        }
    }

    /// Makes an item of this line.
    pub(super) fn in_line(id: ItemId, payload: P, line: u32) -> Self {
        UnfinishedItem {
            line,
            ..UnfinishedItem::new(id, payload)
        }
    }

    /// Makes an item with failures, of which this many no longer count.
    pub(super) fn after(id: ItemId, payload: P, failures: Vec<Failure>, forgiven: u32) -> Self {
        let past = Past { failures, forgiven };
        let is_new = past.failures.is_empty() && forgiven == 0;
        UnfinishedItem {
            past: (!is_new).then(|| Box::new(past)),
            ..UnfinishedItem::new(id, payload)
        }
    }

    pub(super) fn note(&mut self, failure: Failure) {
        self.past.get_or_insert_default().failures.push(failure);
    }

    pub(super) fn history(&self) -> &[Failure] {
        self.past.as_ref().map_or(&[], |past| &past.failures)
    }

    pub(super) fn into_history(self) -> Vec<Failure> {
        self.past.map_or_else(Vec::new, |past| past.failures)
    }

    /// Returns `true` if its last attempt was killed for memory, and counts. One that something else cut
    /// short has not shown that there is room for it.
    pub(super) fn was_killed(&self) -> bool {
        self.past.as_ref().is_some_and(|past| {
            let forgiven = usize::try_from(past.forgiven).unwrap_or(usize::MAX);
            let counting = past.failures.get(forgiven..).unwrap_or_default();
            let mut causes = counting.iter().rev().map(|failure| &failure.cause);
            let telling = causes.find(|cause| !cause.is_from_outside());
            telling.is_some_and(Cause::asks_for_room)
        })
    }

    /// Returns the number of the attempt that is under way or comes next.
    pub(super) fn attempt(&self) -> u32 {
        let failed = self.past.as_ref().map_or(0, |past| past.failures.len());
        u32::try_from(failed).unwrap_or(u32::MAX - 1) + 1
    }

    /// Returns `true` if no other attempt follows the one under way if it ends for this cause.
    pub(super) fn is_given_up_after(&self, cause: &Cause, options: &Options) -> bool {
        let max_attempts = options.max_attempts.max(1);
        let (counted, bound) = match (options.max_lost_attempts, cause.is_loss()) {
            (None, _) => (self.counted(|_| true), max_attempts),
            (Some(_), false) => (self.counted(|cause| !cause.is_loss()), max_attempts),
            (Some(max), true) => (self.counted(Cause::is_loss), max.max(1)),
        };
        cause.is_final() || counted.saturating_add(1) >= bound
    }

    /// Returns the number of its failures of this kind that still count.
    fn counted(&self, is_one: impl Fn(&Cause) -> bool) -> u32 {
        let Some(past) = &self.past else {
            return 0;
        };
        let forgiven = usize::try_from(past.forgiven).unwrap_or(usize::MAX);
        let counting = past.failures.iter().skip(forgiven);
        let count = counting.filter(|failure| is_one(&failure.cause)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

impl<P> From<Unfinished<P>> for UnfinishedItem<P> {
    fn from(item: Unfinished<P>) -> Self {
        UnfinishedItem::after(item.id, item.payload, item.history, item.forgiven)
    }
}
