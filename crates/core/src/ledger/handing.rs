//! Handing out items, one at a time: to a holder that asks, or to a worker whose turn it is. Who that
//! is, `consumers` knows; `turn` hands out many in one go.

use super::leases::Lease;
use super::unfinished::UnfinishedItem;
use super::{Ballot, Handed, HolderId, Ledger, Token, Weight};

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Hands the next item to a holder that asks for it.
    pub fn handle_get(&mut self, holder: HolderId) -> Option<Handed> {
        let is_open = self.consumers.is_open(holder) && !self.gives_nothing();
        if !is_open || (self.consumers.is_worker(holder) && self.holds_back()) {
            return None;
        }
        if self.copies.is_used()
            && let Some(handed) = self.get_copy(holder)
        {
            return Some(handed);
        }
        let entry = self.waiting.pop()?;
        Some(self.lease(holder, entry, true))
    }

    /// Hands the next item to a worker that should have one, idle workers first. Deliveries to
    /// one holder follow each other, so that a caller can batch them.
    pub fn poll_delivery(&mut self) -> Option<Handed> {
        if self.gives_nothing() || self.holds_back() {
            return None;
        }
        if self.copies.is_used() {
            if let Some(handed) = self.poll_copy() {
                return Some(handed);
            }
            if let Some(policy) = self.front_policy() {
                return self.poll_first_copy(policy);
            }
        }
        let Some(weight) = self.waiting.front_weight() else {
            self.consumers.end_turn();
            return None;
        };
        let holder = self.consumers.next_taker(self.waiting.ready(), weight)?;
        let entry = self.waiting.pop()?;
        Some(self.lease(holder, entry, false))
    }

    pub(super) fn lease(
        &mut self,
        holder: HolderId,
        entry: UnfinishedItem<P>,
        is_asked_for: bool,
    ) -> Handed {
        let weight = entry.payload.weight();
        let ordinal = self.consumers.take(holder, weight, is_asked_for);
        let token = Token::of(holder, ordinal);
        self.note_alone(token, entry.was_killed());
        let lease = Lease { entry, copy: None };
        let mut handed = token.handed(&lease);
        self.lend_slot(&mut handed);
        self.leases.insert(token, lease);
        self.note_begun(token);
        handed
    }

    /// Returns `true` if no worker gets anything now, though others may.
    pub(super) fn holds_back(&mut self) -> bool {
        self.is_at_limit() || self.keeps_apart()
    }

    /// Returns the next worker that has had all the deliveries it may get.
    pub fn poll_worn(&mut self) -> Option<HolderId> {
        self.consumers.poll_worn()
    }
}
