//! The relations of items to each other: after which others they begin, and which keys they alone have.
//!
//! Most queues have none of that, so all is in one place, and a queue without it looks there once. What
//! each relation means, `dependencies` and `unique` know.

use alloc::boxed::Box;
use core::time::Duration;

use super::dependencies::Dependencies;
use super::unique::UniqueKeys;
use super::{Ballot, DeadLetter, ItemId, Ledger, Refusal, Weight};

#[derive(Debug)]
pub(super) struct Relations<P> {
    pub(super) dependencies: Option<Dependencies<P>>,
    pub(super) unique: Option<UniqueKeys<P>>,
}

impl<P> Default for Relations<P> {
    fn default() -> Self {
        Relations {
            dependencies: None,
            unique: None,
        }
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Returns `true` if items may depend on others or have unique keys, so that each put is to be
    /// [checked](Self::check_relations).
    #[must_use]
    #[inline]
    pub fn has_relations(&self) -> bool {
        self.relations.is_some()
    }

    /// Checks an item's relations to others: what it is to begin after was accepted and is no dead letter,
    /// and no other item has its unique key. The time must have been told before
    /// ([`is_timed`](Self::is_timed)).
    ///
    /// # Errors
    /// [`Refusal::UnknownItem`], [`Refusal::DeadItem`] or [`Refusal::Duplicate`].
    #[inline]
    pub fn check_relations(&self, payload: &P) -> Result<(), Refusal> {
        // Nearly no queue has any, and each put comes by here.
        match self.has_relations() {
            true => self.check_each_relation(payload),
            false => Ok(()),
        }
    }

    #[inline(never)]
    fn check_each_relation(&self, payload: &P) -> Result<(), Refusal> {
        self.check_key(payload)?;
        self.check_dependencies(payload)
    }

    /// Returns the relations, to add one to them.
    pub(super) fn relations_mut(&mut self) -> &mut Relations<P> {
        self.relations.get_or_insert_with(Box::default)
    }

    pub(super) fn dependencies(&self) -> Option<&Dependencies<P>> {
        self.relations.as_ref()?.dependencies.as_ref()
    }

    pub(super) fn dependencies_mut(&mut self) -> Option<&mut Dependencies<P>> {
        self.relations.as_mut()?.dependencies.as_mut()
    }

    /// Accepts an item that may have relations: after all of it was checked.
    pub(super) fn accept_related(&mut self, payload: P) -> ItemId {
        let next = ItemId(self.waiting.accepted() + 1);
        let unmet = self.unmet(next, &payload, &[]);
        self.take_key(next, &payload);
        let id = match self.outbox.is_journaled() {
            true => self.stage(payload),
            false => self.waiting.accept(payload),
        };
        self.note_dependencies(id, unmet);
        self.give_up_doomed();
        id
    }

    /// Notes that an item is done.
    #[inline]
    pub(super) fn note_done(&mut self, id: ItemId) {
        if self.has_relations() {
            self.end_relations(id);
        }
    }

    #[inline(never)]
    fn end_relations(&mut self, done: ItemId) {
        self.end_dependency(done);
        self.end_key(done);
    }

    /// Notes that an item is a dead letter since this time.
    pub(super) fn note_dead(&mut self, id: ItemId, at: Duration) {
        self.fail_dependency(id, at);
        self.drop_key(id);
    }

    /// Notes that a dead letter is tried again.
    pub(super) fn note_revived(&mut self, letter: &DeadLetter<P>) {
        self.forgive_dependency(letter.id);
        self.take_key(letter.id, &letter.payload);
    }
}
