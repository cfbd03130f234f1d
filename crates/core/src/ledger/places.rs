//! Finds items by their numbers. Nothing here changes anything, and a page of items costs no walk
//! over all that wait: only over what holders have.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use super::{Ballot, Failure, ItemId, Ledger, Token, Weight};

/// An item without an end, as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundItem<P> {
    /// The item's number.
    pub id: ItemId,
    /// The item itself.
    pub payload: P,
    /// Its place.
    pub place: Place,
    /// Its failed attempts, oldest first.
    pub history: Vec<Failure>,
}

/// The place of an item without an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It waits.
    Waiting,
    /// It rests until this time.
    Resting(Duration),
    /// Holders have it: one, or several that have a copy each; these are its deliveries.
    Held(Vec<Token>),
}

/// A kind of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// That of items that wait.
    Waiting,
    /// That of items that rest.
    Resting,
    /// That of items that holders have.
    Held,
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Returns an item that has no end.
    #[must_use]
    pub fn find(&self, id: ItemId) -> Option<FoundItem<P>> {
        let place = self.place_of(id)?;
        self.found(id, place)
    }

    /// Returns `true` if this item was accepted and has no end. `token` is its delivery when it was
    /// last asked for, if it had one; a caller that asks again and again keeps it.
    #[must_use]
    pub fn is_unfinished(&self, id: ItemId, token: &mut Option<Token>) -> bool {
        if self.is_staged(id) || self.is_held_as(id, *token) {
            return true;
        }
        let place = self.place_of(id);
        *token = match &place {
            Some(Place::Held(held)) => held.first().copied(),
            Some(Place::Waiting | Place::Resting(_)) | None => None,
        };
        place.is_some()
    }

    fn is_staged(&self, id: ItemId) -> bool {
        id > self.last_durable() && id.0 <= self.waiting.accepted()
    }

    fn is_held_as(&self, id: ItemId, token: Option<Token>) -> bool {
        let lease = token.and_then(|token| self.leases.get(token));
        lease.is_some_and(|lease| lease.entry.id == id)
    }

    fn place_of(&self, id: ItemId) -> Option<Place> {
        if self.copies.has(id) {
            return Some(Place::Held(self.held_copies(id)));
        }
        if let Some((until, _)) = self.waiting.resting(id) {
            return Some(Place::Resting(until));
        }
        if self.waiting.returned(id).is_some() || self.waiting.fresh(id).is_some() {
            return Some(Place::Waiting);
        }
        let mut leases = self.leases.iter();
        let (token, _) = leases.find(|(_, lease)| lease.entry.id == id)?;
        Some(Place::Held(alloc::vec![token]))
    }

    fn held_copies(&self, id: ItemId) -> Vec<Token> {
        let is_held = |token: &Token| self.leases.get(*token).is_some();
        self.copies.running(id).filter(is_held).collect()
    }

    fn found(&self, id: ItemId, place: Place) -> Option<FoundItem<P>> {
        let of_returned = || self.waiting.returned(id);
        let entry = match &place {
            Place::Waiting => of_returned(),
            Place::Resting(_) => self.waiting.resting(id).map(|(_, entry)| entry),
            Place::Held(held) => self.copies.entry(id).or_else(|| {
                let lease = self.leases.get(*held.first()?)?;
                Some(&lease.entry)
            }),
        };
        let (payload, history) = match entry {
            Some(entry) => (&entry.payload, entry.history()),
            None => (self.waiting.fresh(id)?, &[][..]),
        };
        Some(FoundItem {
            id,
            payload: payload.clone(),
            place,
            history: history.to_vec(),
        })
    }

    /// Returns items without an end that have these numbers and are in a place of this kind, or in
    /// any: the lowest ones, in their order, at most this many.
    #[must_use]
    pub fn find_all(
        &self,
        numbers: RangeInclusive<ItemId>,
        kind: Option<PlaceKind>,
        limit: usize,
    ) -> Vec<FoundItem<P>> {
        let places = self.places_in(&numbers, kind, limit).into_iter();
        let found = places.filter_map(|(id, place)| self.found(id, place));
        found.take(limit).collect()
    }

    /// Returns the items after this one that were accepted and have their end, as far as it has
    /// looked: at most `span` numbers in one go. The second number is the last one that it has
    /// looked at.
    #[must_use]
    pub fn ended_after(&self, after: ItemId, span: u64) -> (Vec<ItemId>, ItemId) {
        let first_fresh = self.waiting.first_fresh();
        let last = match after.0 + 1 < first_fresh {
            true => (after.0.saturating_add(span)).min(first_fresh - 1),
            false => u64::MAX,
        };
        let last = last.min(self.last_durable().0);
        if after.0 >= last {
            return (Vec::new(), ItemId(last));
        }
        let numbers = ItemId(after.0 + 1)..=ItemId(last);
        let unfinished = self.begun_in(&numbers);
        let mut ended = Vec::new();
        if after.0 + 1 < first_fresh {
            ended.extend((after.0 + 1..=last).map(ItemId));
        }
        ended.extend(self.waiting.cancelled_in(numbers));
        ended.retain(|id| !unfinished.contains(id));
        (ended, ItemId(last))
    }

    /// Returns the items with these numbers that have no end, besides those that were never handed
    /// out.
    fn begun_in(&self, numbers: &RangeInclusive<ItemId>) -> BTreeSet<ItemId> {
        let held = self.leases.iter().map(|(_, lease)| lease.entry.id);
        let held = held.chain(self.copies.ids());
        let held = held.filter(|id| numbers.contains(id));
        self.waiting.returned_in(numbers).chain(held).collect()
    }

    fn places_in(
        &self,
        numbers: &RangeInclusive<ItemId>,
        kind: Option<PlaceKind>,
        limit: usize,
    ) -> BTreeMap<ItemId, Place> {
        let mut places = BTreeMap::new();
        if numbers.is_empty() {
            return places;
        }
        let wants = |one| kind.is_none_or(|kind| kind == one);
        let (waiting, resting) = self.waiting.ids_in(numbers, limit);
        if wants(PlaceKind::Waiting) {
            places.extend(waiting.map(|id| (id, Place::Waiting)));
        }
        if wants(PlaceKind::Resting) {
            for id in resting {
                let until = self.waiting.resting(id).map(|(until, _)| until);
                places.insert(id, Place::Resting(until.unwrap_or_default()));
            }
        }
        if wants(PlaceKind::Held) {
            for id in self.copies.ids().filter(|id| numbers.contains(id)) {
                places.insert(id, Place::Held(self.held_copies(id)));
            }
            self.add_leased(numbers, limit, &mut places);
        }
        places
    }

    /// Adds the lowest of the items that holders have.
    fn add_leased(
        &self,
        numbers: &RangeInclusive<ItemId>,
        limit: usize,
        places: &mut BTreeMap<ItemId, Place>,
    ) {
        for (token, lease) in self.leases.iter() {
            let id = lease.entry.id;
            if lease.copy.is_some() || !numbers.contains(&id) {
                continue;
            }
            let is_high =
                places.len() >= limit && places.last_key_value().is_none_or(|(last, _)| id > *last);
            if !is_high {
                places.insert(id, Place::Held(alloc::vec![token]));
                if places.len() > limit {
                    places.pop_last();
                }
            }
        }
    }
}
