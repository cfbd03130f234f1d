//! All that keeps items from workers besides their credit: readings of the machine, tokens, slots and a rate.
//!
//! Most queues have none of them, so all are in one place, and a queue without them looks there once. What
//! each one allows, `admission`, `tokens`, `slots` and `rate` know.

use alloc::boxed::Box;

use super::admission::Admitting;
use super::rate::Rated;
use super::slots::LentSlots;
use super::tokens::TokenCounts;
use super::{Ballot, Ledger, Weight};

#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) admitting: Option<Admitting>,
    pub(super) tokens: Option<TokenCounts>,
    pub(super) slots: Option<LentSlots>,
    pub(super) rated: Option<Rated>,
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Returns the limits, to add one to them.
    pub(super) fn limits_mut(&mut self) -> &mut Limits {
        self.limits.get_or_insert_with(Box::default)
    }

    pub(super) fn admitting(&self) -> Option<&Admitting> {
        self.limits.as_ref()?.admitting.as_ref()
    }

    pub(super) fn token_counts(&self) -> Option<&TokenCounts> {
        self.limits.as_ref()?.tokens.as_ref()
    }

    pub(super) fn tokens_mut(&mut self) -> Option<&mut TokenCounts> {
        self.limits.as_mut()?.tokens.as_mut()
    }

    pub(super) fn slots(&self) -> Option<&LentSlots> {
        self.limits.as_ref()?.slots.as_ref()
    }

    pub(super) fn slots_mut(&mut self) -> Option<&mut LentSlots> {
        self.limits.as_mut()?.slots.as_mut()
    }

    pub(super) fn rated(&self) -> Option<&Rated> {
        self.limits.as_ref()?.rated.as_ref()
    }

    pub(super) fn rated_mut(&mut self) -> Option<&mut Rated> {
        self.limits.as_mut()?.rated.as_mut()
    }

    /// Returns the number of items that workers may begin soon, so that more of them had better be elsewhere.
    /// Readings of the machine say that of one item at a time.
    pub(super) fn room_by_limits(&self) -> usize {
        let Some(limits) = &self.limits else {
            return usize::MAX;
        };
        let by_slots = limits.slots.as_ref().map_or(usize::MAX, LentSlots::free);
        let by_rate = limits.rated.as_ref().map_or(usize::MAX, Rated::soon);
        by_slots.min(by_rate).min(self.room_by_tokens())
    }

    /// Returns `true` if a limit keeps the next item from workers now.
    pub(super) fn is_at_limit(&self) -> bool {
        self.limits.is_some()
            && (self.waits_for_slot()
                || self.waits_for_rate()
                || self.waits_for_reading()
                || self.lacks_token())
    }
}
