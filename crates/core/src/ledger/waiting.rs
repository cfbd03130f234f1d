//! The items that no holder has, in their order.
//!
//! An item that comes back goes to its old place. That is cheap because everything that was ever
//! handed out came from the front: returned items precede all fresh ones, except those that were
//! cancelled before their turn and are tried again. So fresh items need no number of their own,
//! only their payload in a row, and a million of them cost a million payloads. With a journal, the
//! last of them are staged: accepted, but not durable, and not to be handed out. It knows nothing
//! of holders or of the reasons for which an item came back.

mod in_order;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::ops::RangeInclusive;
use core::time::Duration;

use super::order::{ItemTimes, LineId, RankOrder};
use super::rests::Rests;
use super::unfinished::UnfinishedItem;
use super::{Blame, Failure, ItemId, Weight};

#[derive(Debug)]
pub(super) struct Waiting<P> {
    /// Items that were never handed out; the last one has the number `accepted`.
    fresh: VecDeque<P>,
    /// The number of items at the end of `fresh` that are not durable yet.
    staged: usize,
    /// Fresh items that were cancelled: still in their row, to be skipped.
    skipped: BTreeSet<ItemId>,
    accepted: u64,
    returned: BTreeMap<ItemId, UnfinishedItem<P>>,
    delayed: Rests<UnfinishedItem<P>>,
    /// Items whose attempt may have been ended by a stop of the whole run, with their charge if no
    /// stop comes until then.
    suspended: Rests<(UnfinishedItem<P>, Suspicion)>,
    /// True once an item has come back that was killed for memory. While it is false nothing is
    /// asked about that.
    has_killed: bool,
    /// The order of those that wait, where there are keys. Then fresh items are there, and not above.
    order: Option<Box<RankOrder<P>>>,
}

/// The later charge of an item, and its rest if one was asked for.
pub(super) type Suspicion = (Blame, Option<Duration>);

impl<P: Weight + Clone> Waiting<P> {
    /// Makes an empty one after this many accepted items.
    pub(super) fn after(accepted: u64) -> Self {
        Waiting {
            fresh: VecDeque::new(),
            staged: 0,
            skipped: BTreeSet::new(),
            accepted,
            returned: BTreeMap::new(),
            delayed: Rests::new(),
            suspended: Rests::new(),
            has_killed: false,
            order: None,
        }
    }

    pub(super) fn times_mut(&mut self) -> Option<&mut ItemTimes> {
        self.order.as_mut().map(|order| &mut order.times)
    }

    pub(super) fn times(&self) -> Option<&ItemTimes> {
        self.order.as_ref().map(|order| &order.times)
    }

    pub(super) fn has_order(&self) -> bool {
        self.order.is_some()
    }

    /// Notes that holders have one item of this line less.
    #[inline]
    pub(super) fn release(&mut self, line: LineId) {
        self.release_all(core::iter::once(line));
    }

    /// Returns `true` if an item that waits is kept back because of its key.
    pub(super) fn is_kept_back(&self, id: ItemId) -> bool {
        let line = self.returned.get(&id).map(|entry| entry.line);
        let order = self.order.as_ref();
        order.is_some_and(|order| order.is_kept_back(id, line))
    }

    pub(super) fn accept(&mut self, payload: P) -> ItemId {
        if self.order.is_some() {
            return self.accept_in_order(payload, false);
        }
        self.fresh.push_back(payload);
        self.accepted += 1;
        ItemId(self.accepted)
    }

    /// Accepts this many items from the front of `payloads`, and returns the last one's number.
    pub(super) fn accept_many(&mut self, payloads: &mut VecDeque<P>, count: usize) -> ItemId {
        let count = count.min(payloads.len());
        if self.order.is_some() {
            for payload in payloads.drain(..count) {
                self.accept(payload);
            }
            return ItemId(self.accepted);
        }
        if count == payloads.len() {
            self.fresh.append(payloads);
        } else {
            self.fresh.extend(payloads.drain(..count));
        }
        self.accepted += count as u64;
        ItemId(self.accepted)
    }

    /// Accepts an item that has a number already.
    pub(super) fn arrive(&mut self, entry: UnfinishedItem<P>) {
        self.accepted += 1;
        self.put_back(entry);
    }

    /// Forgets an accepted item that belongs to another supervisor now.
    pub(super) fn disown(&mut self) {
        self.accepted -= 1;
    }

    /// Accepts an item that must be durable before it can be handed out.
    pub(super) fn stage(&mut self, payload: P) -> ItemId {
        self.staged += 1;
        match self.order.is_some() {
            true => self.accept_in_order(payload, true),
            false => self.accept(payload),
        }
    }

    /// Notes that the oldest `count` staged items are durable.
    pub(super) fn unstage(&mut self, count: usize) {
        if let Some(order) = &mut self.order {
            order.unstage(count, self.staged);
        }
        self.staged -= count;
        self.rest_early_ones();
    }

    /// Drops the staged items, which were never accepted.
    pub(super) fn discard_staged(&mut self) {
        match &mut self.order {
            None => self.fresh.truncate(self.fresh.len() - self.staged),
            Some(order) => order.discard(self.staged),
        }
        self.accepted -= self.staged as u64;
        self.staged = 0;
    }

    /// Returns the number of the first item that was never handed out, if there is one, else of the
    /// next one to come.
    pub(super) fn first_fresh(&self) -> u64 {
        self.accepted - self.rows() as u64 + 1
    }

    /// Returns the number of places of items that were never handed out, gaps among them.
    fn rows(&self) -> usize {
        match &self.order {
            None => self.fresh.len(),
            Some(order) => order.rows(),
        }
    }

    pub(super) fn pop(&mut self) -> Option<UnfinishedItem<P>> {
        if self.order.is_some() {
            return self.pop_first_in_order();
        }
        self.skip();
        if self.is_returned_first() {
            return self.returned.pop_first().map(|(_, entry)| entry);
        }
        if self.fresh.len() == self.staged {
            return None;
        }
        let id = ItemId(self.first_fresh());
        let payload = self.fresh.pop_front()?;
        Some(UnfinishedItem::new(id, payload))
    }

    /// Takes the next item, if its weight is accepted.
    pub(super) fn pop_if(
        &mut self,
        will_do: impl FnOnce(usize) -> bool,
    ) -> Option<UnfinishedItem<P>> {
        match will_do(self.front_weight()?) {
            true => self.pop(),
            false => None,
        }
    }

    /// Takes the items that are next and were never handed out, up to the first whose weight is not
    /// accepted. Takes none where others may be in between.
    pub(super) fn pop_fresh(
        &mut self,
        mut will_do: impl FnMut(usize) -> bool,
    ) -> impl Iterator<Item = UnfinishedItem<P>> {
        let is_plain = self.order.is_none() && self.skipped.is_empty();
        let ready = match self.returned.is_empty() && is_plain {
            true => self.fresh.len() - self.staged,
            false => 0,
        };
        let first = self.first_fresh();
        let ready = self.fresh.iter().take(ready);
        let count = ready
            .take_while(|payload| will_do(payload.weight()))
            .count();
        let taken = (first..).zip(self.fresh.drain(..count));
        taken.map(|(id, payload)| UnfinishedItem::new(ItemId(id), payload))
    }

    /// Returns `true` if an item that came back is next, if any may be handed out.
    fn is_returned_first(&self) -> bool {
        let first = self.returned.first_key_value();
        first.is_some_and(|(id, _)| id.0 < self.first_fresh() || self.fresh.len() == self.staged)
    }

    /// Drops cancelled items from the front.
    pub(super) fn skip(&mut self) {
        while !self.skipped.is_empty() && self.skipped.remove(&ItemId(self.first_fresh())) {
            self.fresh.pop_front();
        }
    }

    /// Takes this item out, wherever it is, except a staged one.
    pub(super) fn remove(&mut self, id: ItemId) -> Option<UnfinishedItem<P>> {
        if self.is_staged(id) {
            return None;
        }
        if let Some(times) = self.times_mut() {
            times.blocked.remove(&id);
        }
        if let Some(entry) = self.returned.remove(&id) {
            if let Some(order) = &mut self.order {
                order.remove_returned(id, entry.line);
            }
            return Some(entry);
        }
        if let Some(entry) = self.delayed.remove(id) {
            self.end_rest(&entry, false);
            return Some(entry);
        }
        if let Some((entry, _)) = self.remove_suspended(id) {
            return Some(entry);
        }
        if let Some(order) = &mut self.order {
            return order.remove(id, order.rows() - self.staged);
        }
        let place = usize::try_from(id.0.checked_sub(self.first_fresh())?).ok()?;
        if place >= self.fresh.len() - self.staged || !self.skipped.insert(id) {
            return None;
        }
        let payload = self.fresh.get(place)?.clone();
        self.skip();
        Some(UnfinishedItem::new(id, payload))
    }

    /// Returns the weight of the next item, if one waits.
    pub(super) fn front_weight(&mut self) -> Option<usize> {
        if self.order.is_some() {
            return self.front_weight_in_order();
        }
        self.skip();
        self.peek().map(Weight::weight)
    }

    /// Returns the next item, if one waits and no cancelled one is before it.
    pub(super) fn peek(&self) -> Option<&P> {
        if let Some(order) = &self.order {
            return self.peek_in(order);
        }
        if self.skipped.contains(&ItemId(self.first_fresh())) {
            return None;
        }
        if self.is_returned_first() {
            let first = self.returned.first_key_value();
            return first.map(|(_, entry)| &entry.payload);
        }
        match self.fresh.len() > self.staged {
            true => self.fresh.front(),
            false => None,
        }
    }

    pub(super) fn put_back(&mut self, mut entry: UnfinishedItem<P>) {
        self.has_killed |= entry.was_killed();
        if let Some(order) = &mut self.order {
            if order.times.comes_back_late(entry.id) {
                order.rest(&mut entry, false);
                self.delayed.insert(entry.id, Duration::MAX, entry);
                return;
            }
            order.put_back(&mut entry);
        }
        self.returned.insert(entry.id, entry);
    }

    /// Returns `true` if there may be items that were killed for memory.
    pub(super) fn has_killed(&self) -> bool {
        self.has_killed
    }

    /// Returns the next item, if it was killed for memory at its last attempt.
    pub(super) fn next_killed(&self) -> Option<&P> {
        let entry = match &self.order {
            Some(order) => self.returned.get(&order.peek()?.id())?,
            None if !self.is_returned_first() => return None,
            None => self.returned.first_key_value()?.1,
        };
        entry.was_killed().then_some(&entry.payload)
    }

    /// Lets an item whose attempt has failed wait again after its rest.
    pub(super) fn put_back_after(
        &mut self,
        mut entry: UnfinishedItem<P>,
        now: Duration,
        rest: Duration,
    ) {
        if let Some(order) = &mut self.order {
            // It does not come to its next attempt.
            let is_late = order.times.comes_back_late(entry.id);
            match rest.is_zero() && !is_late {
                true => order.retry_next(&mut entry),
                false => order.rest(&mut entry, true),
            }
            if is_late {
                self.delayed.insert(entry.id, Duration::MAX, entry);
                return;
            }
        }
        if rest.is_zero() {
            self.put_back(entry);
        } else {
            let until = now.saturating_add(rest);
            self.delayed.insert(entry.id, until, entry);
        }
    }

    pub(super) fn wake(&mut self, now: Duration) {
        while let Some(entry) = self.delayed.pop(now) {
            self.end_rest(&entry, true);
            self.put_back(entry);
        }
    }

    /// Notes that an item does not rest any more. `keeps_turn`: it waits again.
    fn end_rest(&mut self, entry: &UnfinishedItem<P>, keeps_turn: bool) {
        if let Some(order) = &mut self.order {
            order.end_rest(entry.id, entry.line, keeps_turn);
        }
    }

    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.delayed.next().filter(|time| *time < Duration::MAX)
    }

    /// Keeps an item until it is known if it is charged.
    pub(super) fn suspend(
        &mut self,
        mut entry: UnfinishedItem<P>,
        suspicion: Suspicion,
        until: Duration,
    ) {
        if let Some(order) = &mut self.order {
            order.times.comes_back_late(entry.id);
            order.rest(&mut entry, true);
        }
        self.suspended.insert(entry.id, until, (entry, suspicion));
    }

    /// Takes this item, if it is suspended.
    pub(super) fn remove_suspended(
        &mut self,
        id: ItemId,
    ) -> Option<(UnfinishedItem<P>, Suspicion)> {
        let (entry, suspicion) = self.suspended.remove(id)?;
        self.end_rest(&entry, false);
        Some((entry, suspicion))
    }

    /// Takes an item whose suspicion is over at this time.
    pub(super) fn pop_suspended(
        &mut self,
        now: Duration,
    ) -> Option<(UnfinishedItem<P>, Suspicion)> {
        let (entry, suspicion) = self.suspended.pop(now)?;
        self.end_rest(&entry, false);
        Some((entry, suspicion))
    }

    pub(super) fn next_end_of_suspicion(&self) -> Option<Duration> {
        self.suspended.next()
    }

    /// Returns all items that wait or rest, including those that are not durable yet.
    pub(super) fn ids(&self) -> BTreeSet<ItemId> {
        let fresh = (self.first_fresh()..=self.accepted).map(ItemId);
        let fresh = fresh.filter(|id| self.is_fresh(*id));
        let delayed = self.delayed.ids().chain(self.suspended.ids());
        fresh
            .chain(self.returned.keys().copied())
            .chain(delayed)
            .collect()
    }

    /// Returns the payload of an item that was never handed out and is durable.
    pub(super) fn fresh(&self, id: ItemId) -> Option<&P> {
        self.accepted_payload(id).filter(|_| !self.is_staged(id))
    }

    /// Returns `true` if this item was accepted and is not durable yet.
    pub(super) fn is_staged(&self, id: ItemId) -> bool {
        id.0 <= self.accepted && id.0 + self.staged as u64 > self.accepted
    }

    /// Returns the payload of an item that was never handed out, durable or not.
    fn accepted_payload(&self, id: ItemId) -> Option<&P> {
        if let Some(order) = &self.order {
            return order.get(id, order.rows());
        }
        let place = usize::try_from(id.0.checked_sub(self.first_fresh())?).ok()?;
        self.fresh
            .get(place)
            .filter(|_| !self.skipped.contains(&id))
    }

    /// Returns an item that no holder has, durable or not, with its past.
    pub(super) fn find(&self, id: ItemId) -> Option<(&P, &[Failure])> {
        let resting = || self.resting(id).map(|(_, entry)| entry);
        match self.returned.get(&id).or_else(resting) {
            Some(entry) => Some((&entry.payload, entry.history())),
            None => Some((self.accepted_payload(id)?, &[])),
        }
    }

    /// Returns `true` if this item, whose place is among those that were never handed out, is there.
    fn is_fresh(&self, id: ItemId) -> bool {
        match &self.order {
            None => !self.skipped.contains(&id),
            Some(order) => order.get(id, order.rows()).is_some(),
        }
    }

    /// Returns an item that was handed out or came from elsewhere, and may be handed out now.
    pub(super) fn returned(&self, id: ItemId) -> Option<&UnfinishedItem<P>> {
        self.returned.get(&id)
    }

    /// Returns an item that rests, and the end of its rest.
    pub(super) fn resting(&self, id: ItemId) -> Option<(Duration, &UnfinishedItem<P>)> {
        let suspended = || {
            let (until, (entry, _)) = self.suspended.get(id)?;
            Some((until, entry))
        };
        self.delayed.get(id).or_else(suspended)
    }

    /// Returns the durable items with these numbers that may be handed out now, and those that
    /// rest: at most this many of each kind of place, and the lowest ones.
    pub(super) fn ids_in(
        &self,
        numbers: &RangeInclusive<ItemId>,
        limit: usize,
    ) -> (impl Iterator<Item = ItemId>, impl Iterator<Item = ItemId>) {
        let first = numbers.start().0.max(self.first_fresh());
        let last = numbers.end().0.min(self.accepted - self.staged as u64);
        let fresh = (first..=last).map(ItemId);
        let fresh = fresh.filter(|id| self.is_fresh(*id));
        let returned = self.returned.range(numbers.clone()).map(|(id, _)| *id);
        let resting = self.delayed.ids_in(numbers.clone());
        let suspended = self.suspended.ids_in(numbers.clone());
        (
            returned.take(limit).chain(fresh.take(limit)),
            resting.take(limit).chain(suspended.take(limit)),
        )
    }

    /// Returns the items with these numbers that were handed out or came from elsewhere, and wait or
    /// rest.
    pub(super) fn returned_in(
        &self,
        numbers: &RangeInclusive<ItemId>,
    ) -> impl Iterator<Item = ItemId> {
        let returned = self.returned.range(numbers.clone()).map(|(id, _)| *id);
        let delayed = self.delayed.ids_in(numbers.clone());
        returned
            .chain(delayed)
            .chain(self.suspended.ids_in(numbers.clone()))
    }

    /// Returns the items with these numbers that were cancelled before their turn, which has not
    /// come yet.
    pub(super) fn cancelled_in(
        &self,
        numbers: RangeInclusive<ItemId>,
    ) -> impl Iterator<Item = ItemId> {
        let first = ItemId(self.first_fresh());
        // What has left the row out of turn may have an end as well.
        let order = self.order.as_ref().into_iter();
        let gaps = order.flat_map({
            let numbers = numbers.clone();
            move |order| order.gaps_in(numbers.clone())
        });
        let cancelled = self.skipped.range(numbers).copied();
        cancelled.filter(move |id| *id >= first).chain(gaps)
    }

    /// Returns the items that were handed out or came from elsewhere, and may be handed out now.
    pub(super) fn returned_ids(&self) -> impl Iterator<Item = ItemId> {
        self.returned.keys().copied()
    }

    /// Returns the number of items that may be handed out now.
    pub(super) fn ready(&self) -> usize {
        match &self.order {
            None => self.waiting(),
            Some(order) => order.ready(),
        }
    }

    /// Returns the number of durable items that wait.
    fn waiting(&self) -> usize {
        let fresh = match &self.order {
            None => self.fresh.len() - self.skipped.len(),
            Some(order) => order.fresh(),
        };
        fresh - self.staged + self.returned.len()
    }

    /// Returns the number of items that wait or are staged.
    pub(super) fn len(&self) -> usize {
        self.waiting() + self.staged
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.delayed() == 0
    }

    pub(super) fn delayed(&self) -> usize {
        self.delayed.len() + self.suspended.len()
    }

    pub(super) fn staged(&self) -> usize {
        self.staged
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }
}
