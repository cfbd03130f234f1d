//! The deliveries that are not settled, by holder and ordinal.
//!
//! Ordinals of one holder follow each other and are settled nearly in that order, so its deliveries
//! form a row, and finding one is arithmetic. A delivery that is held for long while others come
//! and go is laid aside, so a row is never much longer than its content. It knows nothing of
//! credits or of the meaning of a delivery's end.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque, vec_deque};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use slotmap::SecondaryMap;

use super::unfinished::UnfinishedItem;
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
    pub(super) entry: UnfinishedItem<P>,
    /// `Some` for one of several copies. Its item is in their group, and here is only its payload.
    pub(super) copy: Option<Box<CopyMark>>,
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
                .as_ref()
                .map_or_else(|| lease.entry.attempt(), |copy| copy.attempt),
            copy: lease.copy.as_ref().map_or(1, |copy| copy.number),
            of: lease.copy.as_ref().map_or(1, |copy| copy.of),
            slot: 0,
        }
    }
}

#[derive(Debug)]
struct HeldRow<P> {
    /// The ordinal of the first place in the row.
    first: u64,
    /// The row. Settled deliveries leave a gap; the first place is never a gap.
    row: VecDeque<Option<Lease<P>>>,
    in_row: usize,
    /// Deliveries from before the row, which were held for long.
    aside: BTreeMap<u64, Lease<P>>,
}

impl<P> HeldRow<P> {
    fn new() -> Self {
        HeldRow {
            first: 1,
            row: VecDeque::new(),
            in_row: 0,
            aside: BTreeMap::new(),
        }
    }

    fn place(&self, ordinal: u64) -> Option<usize> {
        usize::try_from(ordinal.checked_sub(self.first)?).ok()
    }

    /// Makes the place of this ordinal the next one in the row.
    fn lengthen_to(&mut self, ordinal: u64) {
        if self.row.is_empty() {
            self.first = ordinal;
        }
        while self.first + (self.row.len() as u64) < ordinal {
            self.row.push_back(None);
        }
    }

    fn insert(&mut self, ordinal: u64, lease: Lease<P>) -> Option<&mut Lease<P>> {
        self.lengthen_to(ordinal);
        self.row.push_back(Some(lease));
        self.in_row += 1;
        if self.row.len() > 2 * self.in_row + GAPS {
            self.lay_first_aside();
        }
        self.row.back_mut()?.as_mut()
    }

    /// Adds deliveries. They are made in their places, because a
    /// delivery that is made elsewhere and moved costs several times as much.
    fn extend(
        &mut self,
        first: u64,
        entries: impl Iterator<Item = UnfinishedItem<P>>,
    ) -> vec_deque::IterMut<'_, Option<Lease<P>>> {
        self.lengthen_to(first);
        let before = self.row.len();
        self.row
            .extend(entries.map(|entry| Some(Lease { entry, copy: None })));
        // With no more gaps than before it is not too long.
        self.in_row += self.row.len() - before;
        self.row.range_mut(before..)
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

    /// Drops a delivery after a look at it, without moving it if it is the first.
    fn end<T>(&mut self, ordinal: u64, look: impl FnOnce(&Lease<P>) -> T) -> Option<T> {
        if ordinal != self.first || self.row.is_empty() {
            return self.remove(ordinal).map(|lease| look(&lease));
        }
        let place = self.row.front_mut()?;
        let seen = look(place.as_ref()?);
        *place = None;
        self.in_row -= 1;
        self.close_gaps();
        Some(seen)
    }

    /// Returns how many deliveries of this run the row begins with, one after the other.
    fn held_in_front(&self, run: &RangeInclusive<u64>) -> usize {
        if *run.start() != self.first {
            return 0;
        }
        let length = usize::try_from(run.end() + 1 - run.start()).unwrap_or(usize::MAX);
        let places = self.row.iter().take(length);
        places.take_while(|place| place.is_some()).count()
    }

    /// Removes deliveries of this run, in order. Returns their number.
    fn remove_run(
        &mut self,
        run: RangeInclusive<u64>,
        mut take: impl FnMut(u64, Option<&Lease<P>>),
    ) -> usize {
        // Most often this is the whole run, and then none is moved, or looked for one by one.
        let mut removed = self.held_in_front(&run);
        let (start, end) = run.into_inner();
        for (ordinal, place) in (start..).zip(self.row.range(..removed)) {
            take(ordinal, place.as_ref());
        }
        self.row.drain(..removed);
        self.in_row -= removed;
        self.first += removed as u64;
        self.close_gaps();
        for ordinal in start + removed as u64..=end {
            let lease = self.remove(ordinal);
            removed += usize::from(lease.is_some());
            take(ordinal, lease.as_ref());
        }
        removed
    }

    /// Returns those of this run that are not settled.
    fn held(&self, run: &RangeInclusive<u64>) -> impl Iterator<Item = &Lease<P>> {
        let place = |ordinal: u64| {
            let place = self.place(ordinal).unwrap_or(0);
            place.min(self.row.len())
        };
        let row = self.row.range(place(*run.start())..place(run.end() + 1));
        let aside = self.aside.range(run.clone()).map(|(_, lease)| lease);
        aside.chain(row.flatten())
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &Lease<P>)> {
        let aside = self.aside.iter().map(|(ordinal, lease)| (*ordinal, lease));
        let row = (self.first..).zip(&self.row);
        aside.chain(row.filter_map(|(ordinal, place)| Some((ordinal, place.as_ref()?))))
    }
}

#[derive(Debug)]
pub(super) struct Leases<P> {
    hands: SecondaryMap<HolderId, HeldRow<P>>,
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
        let hand = self.hands.entry(token.holder)?.or_insert_with(HeldRow::new);
        self.len += 1;
        hand.insert(token.ordinal, lease)
    }

    /// Adds deliveries with this ordinal and those that follow it;
    /// it is higher than any before. Returns them.
    pub(super) fn extend(
        &mut self,
        holder: HolderId,
        first: u64,
        entries: impl Iterator<Item = UnfinishedItem<P>>,
    ) -> impl Iterator<Item = &mut Lease<P>> {
        let entry = self.hands.entry(holder);
        let hand = entry.map(|entry| entry.or_insert_with(HeldRow::new));
        let new = hand.map(|hand| hand.extend(first, entries));
        self.len += new.as_ref().map_or(0, ExactSizeIterator::len);
        new.into_iter().flatten().flatten()
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

    /// Drops a delivery after a look at it.
    pub(super) fn end<T>(&mut self, token: Token, look: impl FnOnce(&Lease<P>) -> T) -> Option<T> {
        let seen = self.hands.get_mut(token.holder)?.end(token.ordinal, look)?;
        self.len -= 1;
        Some(seen)
    }

    /// Removes a run of a holder's deliveries in order, with `None` for those that are settled.
    pub(super) fn remove_run(
        &mut self,
        holder: HolderId,
        run: RangeInclusive<u64>,
        mut take: impl FnMut(u64, Option<&Lease<P>>),
    ) {
        match self.hands.get_mut(holder) {
            Some(hand) => self.len -= hand.remove_run(run, take),
            None => run.for_each(|ordinal| take(ordinal, None)),
        }
    }

    /// Returns those of a run of a holder's deliveries that are not settled.
    pub(super) fn held(
        &self,
        holder: HolderId,
        run: &RangeInclusive<u64>,
    ) -> impl Iterator<Item = &Lease<P>> {
        let hand = self.hands.get(holder);
        hand.into_iter().flat_map(|hand| hand.held(run))
    }

    pub(super) fn of(&self, holder: HolderId) -> impl Iterator<Item = (u64, &Lease<P>)> {
        self.hands.get(holder).into_iter().flat_map(HeldRow::iter)
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
            entry: UnfinishedItem::new(ItemId(number), Vec::new()),
            copy: None,
        }
    }

    #[test]
    fn one_that_is_held_for_long_does_not_lengthen_the_row() {
        let mut hand = HeldRow::new();
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
            let mut hand = HeldRow::new();
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

    #[test]
    fn runs_agree_with_single_deliveries() {
        proptest::proptest!(|(steps: Vec<(u8, u8)>)| {
            let holder = slotmap::SlotMap::with_key().insert(());
            let (mut single, mut runs) = (Leases::new(), Leases::new());
            let mut next = 1;
            for (what, pick) in steps {
                let ordinal = u64::from(pick) % next;
                match what % 4 {
                    0 => {
                        let run = next..next + u64::from(pick % 8);
                        let entries = run.clone().map(|ordinal| lease(ordinal).entry);
                        let new = runs.extend(holder, next, entries).map(|one| one.entry.id.0);
                        proptest::prop_assert!(new.eq(run.clone()));
                        for ordinal in run.clone() {
                            single.insert(Token::of(holder, ordinal), lease(ordinal));
                        }
                        next = run.end;
                    }
                    1 => {
                        for leases in [&mut single, &mut runs] {
                            leases.insert(Token::of(holder, next), lease(next));
                        }
                        next += 1;
                    }
                    2 => {
                        let token = Token::of(holder, ordinal);
                        let removed = single.remove(token).map(|lease| lease.entry.id);
                        let ended = runs.end(token, |lease| lease.entry.id);
                        proptest::prop_assert_eq!(ended, removed);
                    }
                    _ => {
                        let run = ordinal..=ordinal + u64::from(what);
                        let held: Vec<_> = runs.held(holder, &run).map(|one| one.entry.id.0).collect();
                        let tokens = run.clone().map(|ordinal| Token::of(holder, ordinal));
                        let known = tokens.filter_map(|token| single.get(token));
                        proptest::prop_assert!(known.map(|one| one.entry.id.0).eq(held));
                        let (mut expected, mut told) = (Vec::new(), Vec::new());
                        for ordinal in run.clone() {
                            let token = Token::of(holder, ordinal);
                            let lease = single.remove(token);
                            expected.push((ordinal, lease.map(|lease| lease.entry.id)));
                        }
                        let tell = |ordinal, lease: Option<&Lease<_>>| {
                            told.push((ordinal, lease.map(|lease| lease.entry.id)));
                        };
                        runs.remove_run(holder, run, tell);
                        proptest::prop_assert_eq!(told, expected);
                    }
                }
                let held = |leases: &Leases<Vec<u8>>| -> Vec<u64> {
                    leases.of(holder).map(|(ordinal, _)| ordinal).collect()
                };
                proptest::prop_assert_eq!(held(&runs), held(&single));
                proptest::prop_assert_eq!(runs.len(), single.len());
            }
        });
    }
}
