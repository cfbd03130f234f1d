//! Hands many items to one worker in one go.
//!
//! They are the items that [`poll_delivery`](super::Ledger::poll_delivery) would hand out one by
//! one; a test compares the two. It does not know which holder is next; `consumers` does.

use super::leases::Lease;
use super::{Ballot, Credit, Handed, HolderId, ItemId, Ledger, Token, Weight};

#[derive(Debug)]
pub(super) struct Turn {
    pub(super) id: HolderId,
    pub(super) credit: Credit,
    pub(super) left: usize,
    /// Its state, with what it got in this turn.
    pub(super) outstanding: u64,
    pub(super) at_hand: u64,
    pub(super) bytes: usize,
    pub(super) ordinal: u64,
    pub(super) quota: u64,
}

impl Turn {
    fn takes(&mut self, weight: usize) -> bool {
        let is_open = self.left > 0 && self.ordinal < self.quota;
        if !is_open || !self.credit.allows(self.at_hand, self.bytes, weight) {
            return false;
        }
        self.left -= 1;
        self.outstanding += 1;
        self.at_hand += 1;
        self.bytes += weight;
        self.ordinal += 1;
        true
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Hands out nothing from now on. Items that are handed out already may be finished.
    pub fn handle_hold(&mut self) {
        self.is_held = true;
    }

    pub(super) fn gives_nothing(&self) -> bool {
        self.is_held || self.is_paused || self.outbox.is_broken() || self.waits_for_room()
    }

    /// Hands out all that [`poll_delivery`](Self::poll_delivery) would go on to hand to the same
    /// worker.
    pub fn poll_turn(&mut self, mut deliver: impl FnMut(&Handed, &mut P)) {
        // Where there are slots, each worker gets one item at a time.
        if self.gives_nothing() || self.holds_back() || self.has_slots() {
            return;
        }
        let Some(mut turn) = self.consumers.take_turn() else {
            return;
        };
        let holder = turn.id;
        // Those with copies are handed out one by one.
        let is_free = self.shortage.is_none() && self.limits.is_none() && !self.copies.is_used();
        loop {
            if is_free {
                self.hand_out_fresh(&mut turn, &mut deliver);
            }
            if self.waits_for_room() || self.holds_back() || self.front_policy().is_some() {
                break;
            }
            let Some(entry) = self.waiting.pop_if(|weight| turn.takes(weight)) else {
                break;
            };
            let token = Token::of(holder, turn.ordinal);
            let lease = Lease { entry, copy: None };
            let handed = token.handed(&lease);
            self.note_begun(token);
            if let Some(lease) = self.leases.insert(token, lease) {
                deliver(&handed, &mut lease.entry.payload);
            }
        }
        self.consumers.give_turn_back(turn);
    }

    /// Hands out items that were never handed out, as long as no others are among them. Nearly all are such, so
    /// they cost as little as can be.
    fn hand_out_fresh(&mut self, turn: &mut Turn, deliver: &mut impl FnMut(&Handed, &mut P)) {
        let (holder, first) = (turn.id, turn.ordinal + 1);
        let will_do = |weight| turn.takes(weight);
        if !self.waiting.has_order() {
            let entries = self.waiting.pop_fresh(will_do);
            let leases = self.leases.extend(holder, first, entries);
            hand_out((holder, first), leases, deliver);
        } else if let Some(entries) = self.waiting.pop_fresh_in_order(will_do) {
            let leases = self.leases.extend(holder, first, entries);
            hand_out((holder, first), leases, deliver);
        }
    }
}

/// Tells of deliveries to one holder, the first of which has this ordinal. None was handed out before.
#[inline]
fn hand_out<'a, P: 'a>(
    (holder, first): (HolderId, u64),
    leases: impl Iterator<Item = &'a mut Lease<P>>,
    deliver: &mut impl FnMut(&Handed, &mut P),
) {
    let mut handed = Handed {
        holder,
        token: Token::of(holder, first),
        ordinal: first,
        id: ItemId(0),
        attempt: 1,
        copy: 1,
        of: 1,
        slot: 0,
    };
    for (ordinal, lease) in (first..).zip(leases) {
        // Only what differs is written: the rest is the same for all of them.
        (handed.token.ordinal, handed.ordinal, handed.id) = (ordinal, ordinal, lease.entry.id);
        deliver(&handed, &mut lease.entry.payload);
    }
}
