//! Accepting items: at once, or with a journal when they are durable.

use alloc::collections::VecDeque;

use super::{Ballot, ItemId, Ledger, Weight};

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Accepts an item at the end of the queue, after [`refusal`](Self::refusal) said that it is
    /// not refused. With a journal it is accepted when [`is_durable`](Self::is_durable) says so.
    pub fn accept(&mut self, payload: P) -> ItemId {
        self.note_policy(&payload);
        if !self.outbox.is_journaled() && !self.has_relations() {
            return self.waiting.accept(payload);
        }
        self.accept_with_care(payload)
    }

    /// Accepts an item that must be durable first, or may have relations to others: apart, because a payload
    /// should not be moved more often than it must.
    #[inline(never)]
    fn accept_with_care(&mut self, payload: P) -> ItemId {
        match self.has_relations() {
            true => self.accept_related(payload),
            false => self.stage(payload),
        }
    }

    /// Accepts this many items from the front of `payloads`, in their order, after
    /// [`room`](Self::room) said that there is room for so many. Returns the last one's number.
    pub fn accept_many(&mut self, payloads: &mut VecDeque<P>, count: usize) -> ItemId {
        for payload in payloads.iter().take(count) {
            self.note_policy(payload);
        }
        if !self.outbox.is_journaled() && !self.has_relations() {
            return self.waiting.accept_many(payloads, count);
        }
        for payload in payloads.drain(..count.min(payloads.len())) {
            self.accept_with_care(payload);
        }
        ItemId(self.waiting.accepted())
    }

    /// Accepts an item once it is durable.
    pub(super) fn stage(&mut self, payload: P) -> ItemId {
        let id = ItemId(self.waiting.accepted() + 1);
        self.outbox.accept(id, &payload);
        self.waiting.stage(payload)
    }
}
