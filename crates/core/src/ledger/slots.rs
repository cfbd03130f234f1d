//! Slots: numbers of which each delivery to a worker is lent one, and no two the same at once. Where all
//! are lent, workers get nothing.
//!
//! A number is lent until its delivery is settled, or its holder is gone; that of an item which was
//! cancelled meanwhile, until its holder is through with it. It does not know what the numbers stand
//! for.

use alloc::vec::Vec;

use super::order::LineId;
use super::{Ballot, Ledger, OrderRules, Token, WaitsFor, Weight};
use super::{Handed, ItemId};

/// The slots, each with the delivery that it is lent to.
#[derive(Debug, Default)]
pub(super) struct LentSlots(Vec<Option<Token>>);

impl LentSlots {
    fn has_free(&self) -> bool {
        self.0.iter().any(Option::is_none)
    }

    /// Returns the number of slots that are not lent.
    pub(super) fn free(&self) -> usize {
        self.0.len() - self.lent()
    }

    /// Lends the first slot that is free, and returns its number, from 1; 0 if there is none.
    fn lend(&mut self, token: Token) -> u32 {
        let Some(place) = self.0.iter().position(Option::is_none) else {
            return 0;
        };
        self.0[place] = Some(token);
        u32::try_from(place).unwrap_or(u32::MAX - 1) + 1
    }

    fn give_back(&mut self, token: Token) {
        let lent = self.0.iter_mut().find(|lent| **lent == Some(token));
        if let Some(lent) = lent {
            *lent = None;
        }
    }

    /// Returns the number of slots that are lent.
    fn lent(&self) -> usize {
        self.0.iter().flatten().count()
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Lends each delivery to a worker one of so many slots from now on. Items have no copies then.
    pub fn handle_slots(&mut self, count: u32) {
        let slots = self.limits_mut().slots.get_or_insert_default();
        // Those that are lent stay lent.
        slots.0.resize(slots.0.len().max(count as usize), None);
    }

    /// Puts the items in an order by these rules from now on. Items have no copies then. Those that
    /// holders have are not counted.
    pub fn handle_order(&mut self, rules: OrderRules<P>) {
        if !self.waiting.has_order() {
            let after = rules.after.clone();
            self.waiting.set_order(rules);
            if let Some(after) = after {
                self.begin_dependencies(after);
            }
        }
    }

    /// Returns `true` if the items are in an order by rules.
    #[must_use]
    pub fn has_order(&self) -> bool {
        self.waiting.has_order()
    }

    /// Returns `true` if deliveries are lent slots.
    #[must_use]
    pub fn has_slots(&self) -> bool {
        self.slots().is_some()
    }

    /// Returns `true` if items may have copies: not where each holds its slot or its key's turn.
    #[must_use]
    pub fn allows_copies(&self) -> bool {
        self.slots().is_none() && !self.waiting.has_order()
    }

    /// Returns `true` if all slots are lent.
    pub(super) fn waits_for_slot(&self) -> bool {
        let slots = self.slots();
        slots.is_some_and(|slots| !slots.has_free())
    }

    /// Lends a worker's delivery a slot, if there are some.
    pub(super) fn lend_slot(&mut self, handed: &mut Handed) {
        if self.consumers.is_worker(handed.holder)
            && let Some(slots) = self.slots_mut()
        {
            handed.slot = slots.lend(handed.token);
        }
    }

    /// Notes that a holder is through with this delivery of an item in this line.
    #[inline]
    pub(super) fn end_running(&mut self, token: Token, line: LineId) {
        self.waiting.release(line);
        self.give_slot_back(token);
    }

    /// Notes that nobody needs the slot of this delivery any more, if it has one.
    #[inline]
    pub(super) fn give_slot_back(&mut self, token: Token) {
        if let Some(slots) = self.slots_mut() {
            slots.give_back(token);
        }
    }

    /// Returns the cause for which an item is not handed out that waits or rests.
    #[must_use]
    pub fn waits_for(&self, id: ItemId) -> Option<WaitsFor> {
        if !self.dependencies_of(id).is_empty() {
            return Some(WaitsFor::Items);
        }
        if let Some((_, entry)) = self.waiting.resting(id) {
            // One that has begun rests before its next attempt.
            let mut failures = entry.history().iter();
            let has_begun = failures.any(|failure| !failure.scene.worker.is_empty());
            return (!has_begun).then_some(WaitsFor::Time);
        }
        if self.waiting.is_kept_back(id) {
            return Some(WaitsFor::Key);
        }
        let lacks_room = self.waits_for_reading() || self.waits_for_room();
        let is_any_idle = self.consumers.idle() > 0;
        let causes = [
            (self.waits_for_slot(), WaitsFor::Slot),
            (self.waits_for_rate(), WaitsFor::Rate),
            (self.is_kept_apart(), WaitsFor::Alone),
            (is_any_idle && self.lacks_token(), WaitsFor::Token),
            (is_any_idle && lacks_room, WaitsFor::Room),
        ];
        let (_, cause) = causes.into_iter().find(|(is_so, _)| *is_so)?;
        Some(cause)
    }

    /// Checks that slots are lent to deliveries that holders have, and to all that workers have.
    pub(super) fn check_slots(&self) -> bool {
        let Some(slots) = self.slots() else {
            return true;
        };
        let lent = slots.0.iter().flatten();
        let mut lent = lent.filter(|token| !self.holds(token.holder, token.ordinal));
        lent.next().is_none() && slots.lent() <= self.leases.len() + self.revoked.len()
    }
}
