//! The steps of waiting items where they have an order. They are apart from the others, and not compiled
//! into them: where there is no order, an item should take a few nanoseconds.

use alloc::boxed::Box;
use core::time::Duration;

use super::Waiting;
use crate::ledger::order::{LineId, OrderRules, RankOrder};
use crate::ledger::unfinished::UnfinishedItem;
use crate::ledger::{ItemId, Weight};

impl<P: Weight + Clone> Waiting<P> {
    /// Puts all in an order by these rules from now on.
    pub(in crate::ledger) fn set_order(&mut self, rules: OrderRules<P>) {
        let mut order = Box::new(RankOrder::new(rules));
        let first = self.first_fresh();
        let waiting = self.fresh.len() - self.staged;
        order.reserve(self.fresh.len());
        let fresh = core::mem::take(&mut self.fresh);
        for ((id, payload), place) in (first..).zip(fresh).zip(0..) {
            order.accept(id, payload, place >= waiting);
        }
        for id in core::mem::take(&mut self.skipped) {
            order.remove(id, order.rows() - self.staged);
        }
        for (_, mut one) in core::mem::take(&mut self.returned) {
            match order.times_of(&one) {
                None => {
                    order.put_back(&mut one);
                    self.returned.insert(one.id, one);
                }
                Some(until) => {
                    order.rest(&mut one, false);
                    self.delayed.insert(one.id, until, one);
                }
            }
        }
        self.delayed.each(|one| {
            // Those from just above have their line.
            if one.line == 0 {
                order.times_of(one);
                order.rest(one, true);
            }
        });
        self.suspended.each(|(one, _)| {
            order.times_of(one);
            order.rest(one, true);
        });
        self.order = Some(order);
        self.rest_early_ones();
    }

    /// Lets items rest that are not to be handed out yet.
    pub(super) fn rest_early_ones(&mut self) {
        let Some(order) = self.order.as_mut().filter(|order| order.times.has_early()) else {
            return;
        };
        while let Some((entry, until)) = order.pop_early(order.rows() - self.staged) {
            self.delayed.insert(entry.id, until, entry);
        }
    }

    /// Lets an item wait that had its end, or rest until its time.
    pub(in crate::ledger) fn put_back_in_time(&mut self, mut entry: UnfinishedItem<P>) {
        if let Some(order) = &mut self.order
            && let Some(until) = order.not_before(&entry)
        {
            order.rest(&mut entry, false);
            self.delayed.insert(entry.id, until, entry);
            return;
        }
        self.put_back(entry);
    }

    /// Forgets the deadline of an item that becomes a dead letter: tried again it has none.
    pub(in crate::ledger) fn forget_deadline(&mut self, entry: &UnfinishedItem<P>) {
        if let Some(order) = &mut self.order {
            order.forget_deadline(entry);
        }
    }

    /// Lets an item rest until it is [unblocked](Self::unblock), and then until its own time.
    pub(in crate::ledger) fn block(&mut self, id: ItemId) {
        let is_staged = self.is_staged(id);
        let resting = self.delayed.get(id).map(|(until, _)| until);
        let entry = match resting {
            Some(_) => self.delayed.remove(id),
            None => self.remove(id),
        };
        let Some(order) = &mut self.order else {
            return;
        };
        let until = resting.unwrap_or(Duration::ZERO);
        if let Some(mut entry) = entry {
            if resting.is_none() {
                order.rest(&mut entry, false);
            }
            order.times.blocked.insert(id, until);
            self.delayed.insert(id, Duration::MAX, entry);
        } else if is_staged {
            order.times.blocked.insert(id, until);
            if order.times.early.back().is_none_or(|(last, _)| *last < id) {
                order.times.early.push_back((id, until));
            }
        }
    }

    /// Lets an item wait or rest as if it had never been blocked.
    pub(in crate::ledger) fn unblock(&mut self, id: ItemId) {
        let until = self.times_mut().and_then(|times| times.blocked.remove(&id));
        // One that is not durable yet is still in its row, and rests for a moment once it is.
        let Some((until, entry)) = until.zip(self.delayed.remove(id)) else {
            return;
        };
        if until.is_zero() {
            self.end_rest(&entry, true);
            self.put_back(entry);
        } else {
            self.delayed.insert(id, until, entry);
        }
    }

    #[inline(never)]
    pub(super) fn accept_in_order(&mut self, payload: P, is_staged: bool) -> ItemId {
        self.accepted += 1;
        if let Some(order) = &mut self.order {
            order.thin_out(self.staged, &mut self.returned);
            order.accept(self.accepted, payload, is_staged);
        }
        if !is_staged {
            self.rest_early_ones();
        }
        ItemId(self.accepted)
    }

    /// Takes the items that are next and were never handed out, up to the first whose weight is not
    /// accepted; the iterator is to be used up. `None` if there is no order.
    pub(in crate::ledger) fn pop_fresh_in_order(
        &mut self,
        will_do: impl FnMut(usize) -> bool,
    ) -> Option<impl Iterator<Item = UnfinishedItem<P>>> {
        Some(self.order.as_mut()?.pop_fresh(will_do))
    }

    /// Takes the next item.
    #[inline(never)]
    pub(super) fn pop_first_in_order(&mut self) -> Option<UnfinishedItem<P>> {
        self.order.as_mut()?.pop_first(&mut self.returned)
    }

    /// Returns the weight of the next item.
    #[inline(never)]
    pub(super) fn front_weight_in_order(&mut self) -> Option<usize> {
        let order = self.order.as_mut()?;
        let front = order.peek_mut()?;
        Some(order.front(front, &self.returned)?.weight())
    }

    #[inline(never)]
    pub(super) fn peek_in<'a>(&'a self, order: &'a RankOrder<P>) -> Option<&'a P> {
        order.front(order.peek()?, &self.returned)
    }

    /// Notes that holders have one item of each of these lines less. An item that was handed out before there
    /// was an order has none.
    pub(in crate::ledger) fn release_all(&mut self, lines: impl Iterator<Item = LineId>) {
        if let Some(order) = &mut self.order {
            lines
                .filter(|line| *line != 0)
                .for_each(|line| order.release(line));
        }
    }
}
