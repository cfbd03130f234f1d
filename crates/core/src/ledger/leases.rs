//! The deliveries that are not settled, by holder and ordinal.
//!
//! Ordinals of one holder follow each other and are settled nearly in that order, so its deliveries
//! form a row, and finding one is arithmetic. A delivery that is held for long while others come
//! and go is laid aside, so a row is never much longer than its content. It knows nothing of
//! credits or of the meaning of a delivery's end.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use slotmap::SecondaryMap;

use super::waiting::Entry;
use super::{Handed, HolderId, Token};

/// The number of a copy and of its attempt, kept with its delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct CopyMark {
    pub(super) number: u32,
    /// The greatest number of copies.
    pub(super) of: u32,
    pub(super) attempt: u32,
}

/// The number of gaps that a row may have besides one for each delivery in it.
const GAPS: usize = 64;

#[derive(Debug)]
pub(super) struct Lease<P> {
    /// True if it was handed out to a `get`, rather than by `poll_delivery`.
    pub(super) is_asked_for: bool,
    pub(super) entry: Entry<P>,
    /// `Some` for one of several copies. Its item is in their group, and here is only its payload.
    pub(super) copy: Option<CopyMark>,
}

impl Token {
    pub(super) fn handed<P>(self, lease: &Lease<P>) -> Handed {
        Handed {
            holder: self.holder,
            token: self,
            ordinal: self.ordinal,
            id: lease.entry.id,
            attempt: lease
                .copy
                .map_or_else(|| lease.entry.attempt(), |copy| copy.attempt),
            copy: lease.copy.map_or(1, |copy| copy.number),
            of: lease.copy.map_or(1, |copy| copy.of),
        }
    }
}

#[derive(Debug)]
struct Hand<P> {
    /// The ordinal of the first place in the row.
    first: u64,
    /// The row. Settled deliveries leave a gap; the first place is never a gap.
    row: VecDeque<Option<Lease<P>>>,
    in_row: usize,
    /// Deliveries from before the row, which were held for long.
    aside: BTreeMap<u64, Lease<P>>,
}

impl<P> Hand<P> {
    fn new() -> Self {
        Hand {
            first: 1,
            row: VecDeque::new(),
            in_row: 0,
            aside: BTreeMap::new(),
        }
    }

    fn place(&self, ordinal: u64) -> Option<usize> {
        usize::try_from(ordinal.checked_sub(self.first)?).ok()
    }

    fn insert(&mut self, ordinal: u64, lease: Lease<P>) -> Option<&mut Lease<P>> {
        if self.row.is_empty() {
            self.first = ordinal;
        }
        while self.first + (self.row.len() as u64) < ordinal {
            self.row.push_back(None);
        }
        self.row.push_back(Some(lease));
        self.in_row += 1;
        if self.row.len() > 2 * self.in_row + GAPS {
            self.lay_first_aside();
        }
        self.row.back_mut()?.as_mut()
    }

    fn lay_first_aside(&mut self) {
        if let Some(Some(lease)) = self.row.pop_front() {
            self.aside.insert(self.first, lease);
            self.in_row -= 1;
        }
        self.first += 1;
        self.close_gaps();
    }

    fn close_gaps(&mut self) {
        while let Some(None) = self.row.front() {
            self.row.pop_front();
            self.first += 1;
        }
    }

    fn get(&self, ordinal: u64) -> Option<&Lease<P>> {
        match self.place(ordinal) {
            Some(place) => self.row.get(place)?.as_ref(),
            None => self.aside.get(&ordinal),
        }
    }

    fn get_mut(&mut self, ordinal: u64) -> Option<&mut Lease<P>> {
        match self.place(ordinal) {
            Some(place) => self.row.get_mut(place)?.as_mut(),
            None => self.aside.get_mut(&ordinal),
        }
    }

    fn remove(&mut self, ordinal: u64) -> Option<Lease<P>> {
        let Some(place) = self.place(ordinal) else {
            return self.aside.remove(&ordinal);
        };
        if place > 0 {
            let lease = self.row.get_mut(place)?.take()?;
            self.in_row -= 1;
            return Some(lease);
        }
        let lease = self.row.pop_front()??;
        self.in_row -= 1;
        self.first += 1;
        self.close_gaps();
        Some(lease)
    }

    /// Removes a delivery that its holder did not ask for.
    fn remove_given(&mut self, ordinal: u64) -> Option<Lease<P>> {
        match self.get(ordinal)?.is_asked_for {
            true => None,
            false => self.remove(ordinal),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &Lease<P>)> {
        let aside = self.aside.iter().map(|(ordinal, lease)| (*ordinal, lease));
        let row = (self.first..).zip(&self.row);
        aside.chain(row.filter_map(|(ordinal, place)| Some((ordinal, place.as_ref()?))))
    }
}

#[derive(Debug)]
pub(super) struct Leases<P> {
    hands: SecondaryMap<HolderId, Hand<P>>,
    len: usize,
}

impl<P> Leases<P> {
    pub(super) fn new() -> Self {
        Leases {
            hands: SecondaryMap::new(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a delivery; its ordinal is higher than any before it.
    pub(super) fn insert(&mut self, token: Token, lease: Lease<P>) -> Option<&mut Lease<P>> {
        if !self.hands.contains_key(token.holder) {
            self.hands.insert(token.holder, Hand::new());
        }
        let hand = self.hands.get_mut(token.holder)?;
        self.len += 1;
        hand.insert(token.ordinal, lease)
    }

    pub(super) fn get(&self, token: Token) -> Option<&Lease<P>> {
        self.hands.get(token.holder)?.get(token.ordinal)
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Lease<P>> {
        self.hands.get_mut(token.holder)?.get_mut(token.ordinal)
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Lease<P>> {
        let lease = self.hands.get_mut(token.holder)?.remove(token.ordinal)?;
        self.len -= 1;
        Some(lease)
    }

    /// Removes a run of a holder's deliveries in order, with `None` for those that are settled.
    /// Deliveries that it asked for stay, because it settles each of them.
    pub(super) fn remove_run(
        &mut self,
        holder: HolderId,
        run: RangeInclusive<u64>,
        mut take: impl FnMut(u64, Option<Lease<P>>),
    ) {
        let mut hand = self.hands.get_mut(holder);
        for ordinal in run {
            let lease = hand.as_mut().and_then(|hand| hand.remove_given(ordinal));
            self.len -= usize::from(lease.is_some());
            take(ordinal, lease);
        }
    }

    pub(super) fn of(&self, holder: HolderId) -> impl Iterator<Item = (u64, &Lease<P>)> {
        self.hands.get(holder).into_iter().flat_map(Hand::iter)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, &Lease<P>)> {
        self.hands.iter().flat_map(|(holder, hand)| {
            let leases = hand.iter();
            leases.map(move |(ordinal, lease)| (Token { holder, ordinal }, lease))
        })
    }

    pub(super) fn take_all(&mut self, holder: HolderId) -> Vec<(u64, Lease<P>)> {
        let Some(hand) = self.hands.remove(holder) else {
            return Vec::new();
        };
        let row = (hand.first..).zip(hand.row);
        let row = row.filter_map(|(ordinal, place)| Some((ordinal, place?)));
        let taken: Vec<_> = hand.aside.into_iter().chain(row).collect();
        self.len -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::ItemId;

    fn lease(number: u64) -> Lease<Vec<u8>> {
        Lease {
            is_asked_for: false,
            entry: Entry::new(ItemId(number), Vec::new()),
            copy: None,
        }
    }

    #[test]
    fn one_that_is_held_for_long_does_not_lengthen_the_row() {
        let mut hand = Hand::new();
        hand.insert(1, lease(1));
        for ordinal in 2..10_000 {
            hand.insert(ordinal, lease(ordinal));
            assert!(hand.remove(ordinal).is_some());
            assert!(hand.row.len() <= 2 * (hand.in_row + 1) + GAPS);
        }
        assert_eq!(hand.iter().count(), 1);
        assert_eq!(hand.remove(1).map(|lease| lease.entry.id), Some(ItemId(1)));
        assert!(hand.remove(1).is_none());
    }

    #[test]
    fn any_order_of_ends_agrees_with_a_map() {
        proptest::proptest!(|(steps: Vec<(bool, u8)>)| {
            let mut hand = Hand::new();
            let mut model = BTreeMap::new();
            let mut next = 1;
            for (is_new, pick) in steps {
                if is_new {
                    hand.insert(next, lease(next));
                    model.insert(next, next);
                    next += 1;
                } else {
                    let ordinal = u64::from(pick) % next;
                    let removed = hand.remove(ordinal).map(|lease| lease.entry.id.0);
                    proptest::prop_assert_eq!(removed, model.remove(&ordinal));
                }
                let held: Vec<u64> = hand.iter().map(|(ordinal, _)| ordinal).collect();
                let expected: Vec<u64> = model.keys().copied().collect();
                proptest::prop_assert_eq!(held, expected);
            }
        });
    }
}
