//! PURE: what is on its way to a stream that others share, and what is known of it.
//!
//! The ledger has what was taken from the stream. Here are the items that go there, in their order,
//! with whoever waits for that; the questions that were asked and how far they were answered; and
//! how much to take. It knows no connection, and nothing of how the stream is told.

pub mod inflight;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use hashbrown::HashSet;

use crate::dispatcher::Request;
use crate::ledger::{ItemId, Refusal};

/// How a stream stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Items without an end, wherever they are.
    pub unfinished: u64,
    /// Of these, what no supervisor has taken.
    pub untaken: u64,
    /// What supervisors have taken. Somebody may have deleted some of it.
    pub taken: u64,
    /// Items that are done.
    pub done: u64,
    /// Items given up on, but for those that are tried again.
    pub dead: u64,
    /// Failed attempts that were followed by another one.
    pub retries: u64,
    /// Ends that were refused, as the item was somebody else's.
    pub refused: u64,
    /// How far its doorbell was rung, in the stream's own words; empty as long as that is not known.
    pub ring: String,
    /// Items that are gone without an end: somebody has trimmed the stream, or deleted them.
    pub gone: u64,
}

/// Who waits for a put to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Putter {
    /// A thread of this process, which asks by its ticket.
    Local,
    /// Nobody in particular: whoever wants to know waits for all.
    Nobody,
    /// A worker process.
    Remote(Request),
}

/// An item on its way.
#[derive(Debug, Clone)]
pub struct Outgoing<P> {
    /// Its place among all.
    pub ticket: u64,
    /// Its number, once there is one.
    pub id: Option<ItemId>,
    /// The item.
    pub payload: P,
    /// Who waits.
    pub putter: Putter,
    /// It may go beyond the bound.
    pub is_beyond_bound: bool,
    /// It does not wait for room.
    pub is_impatient: bool,
    /// It was told, and there was no room.
    was_told: bool,
}

/// Questions and answers, counted: an answer holds for all questions that were asked before it was
/// begun.
#[derive(Debug, Default, Clone, Copy)]
pub struct Questions {
    asked: u64,
    begun: u64,
    answered: u64,
}

impl Questions {
    /// Asks; what is to be waited for.
    pub fn ask(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    /// Whether somebody waits for an answer that is not under way.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked > self.begun
    }

    /// Whether the question with this number was answered.
    #[must_use]
    pub fn is_answered(&self, question: u64) -> bool {
        self.answered >= question
    }

    /// Whether somebody waits for an answer.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.asked > self.answered
    }

    /// Somebody goes to find the answer.
    pub fn begin(&mut self) -> u64 {
        self.begun = self.asked;
        self.begun
    }

    /// This is the answer to all up to that one.
    pub fn answer(&mut self, begun: u64) {
        self.answered = self.answered.max(begun);
    }
}

/// So many numbers are fetched at a time, at most.
const NUMBERS_MAX: u64 = 1024;

/// Who fetches so many has new ones fetched before the old ones are used up.
const NUMBERS_AHEAD: u64 = 256;

/// Taken items take so many bytes at most, besides the first.
const TAKEN_BYTES_MAX: usize = 16 << 20;

/// What one queue knows of its stream.
#[derive(Debug)]
pub struct Shared<P> {
    outgoing: VecDeque<Outgoing<P>>,
    /// How many of the first are being told.
    under_way: usize,
    /// They are out of their order.
    is_shuffled: bool,
    tickets: u64,
    /// What became of puts that somebody waits for.
    outcomes: BTreeMap<u64, Result<ItemId, Refusal>>,
    /// Numbers for the next puts, and how many are fetched next time.
    numbers: VecDeque<Range<u64>>,
    numbers_next: u64,
    /// Numbers of items that were put on their way without, for those who wait for them.
    named: BTreeMap<u64, ItemId>,
    /// The stream is full: puts wait for its doorbell.
    pub is_crowded: bool,
    /// Why the last put was refused.
    pub refusal: String,
    /// One that nobody waited for was.
    pub are_lost: bool,
    /// How many were accepted.
    pub accepted: u64,
    /// Of so many it was told, and the answer never came: they may be there.
    pub uncertain: u64,
    /// Nothing more is taken, and what waits here is given back.
    pub is_quitting: bool,
    /// Nothing more is told, and nobody waits for anything any more.
    pub is_left: bool,
    /// The stream has come back without all that was told to it.
    pub is_older: bool,
    /// It cannot be reached just now.
    pub is_away: bool,
    /// What it lacks just now, so that what was told waits: it is away, or its replicas lag.
    pub lack: Option<String>,
    /// As far as the publisher knows. What others are answered may be older than what he knows already,
    /// as their calls come and go by ways of their own.
    pub stream_state: StreamState,
    /// Other supervisors that are at work.
    pub others: u64,
    /// How the stream stands.
    pub looks: Questions,
    /// Whether there is something to take now.
    pub queries: Questions,
    /// Closed, and nothing was there to take.
    pub is_dry: bool,
    /// Of these it is being told just now what became of them.
    telling: HashSet<ItemId>,
    /// These came again meanwhile, or for nobody. They are given back, lest an answer of then is taken
    /// for one of theirs.
    postponed: Vec<ItemId>,
    /// When it was last looked after what was taken, nothing could be taken over.
    owes_takeover: bool,
    /// It is waited just now for what there is to take.
    pub is_taking: bool,
    /// What an item weighs in the mean.
    weight: usize,
}

impl<P> Default for Shared<P> {
    fn default() -> Self {
        Shared {
            outgoing: VecDeque::new(),
            under_way: 0,
            is_shuffled: false,
            tickets: 0,
            outcomes: BTreeMap::new(),
            numbers: VecDeque::new(),
            numbers_next: 1,
            named: BTreeMap::new(),
            is_crowded: false,
            refusal: String::new(),
            are_lost: false,
            accepted: 0,
            uncertain: 0,
            is_quitting: false,
            is_left: false,
            is_older: false,
            is_away: false,
            lack: None,
            stream_state: StreamState::default(),
            others: 0,
            looks: Questions::default(),
            queries: Questions::default(),
            is_dry: false,
            telling: HashSet::new(),
            postponed: Vec::new(),
            owes_takeover: false,
            is_taking: false,
            weight: 0,
        }
    }
}

impl<P: Clone> Shared<P> {
    /// Puts an item on its way. Its ticket, and its number if there is one for it.
    pub fn push(
        &mut self,
        payload: P,
        putter: Putter,
        is_beyond_bound: bool,
        is_impatient: bool,
    ) -> (u64, Option<ItemId>) {
        self.tickets += 1;
        let id = self.next_number();
        self.outgoing.push_back(Outgoing {
            ticket: self.tickets,
            id,
            payload,
            putter,
            is_beyond_bound,
            is_impatient,
            was_told: false,
        });
        (self.tickets, id)
    }

    /// The ticket of the last item that was put on its way.
    #[must_use]
    pub fn last_ticket(&self) -> u64 {
        self.tickets
    }

    fn next_number(&mut self) -> Option<ItemId> {
        let first = self.numbers.front_mut()?;
        let number = first.next()?;
        if first.is_empty() {
            self.numbers.pop_front();
        }
        Some(ItemId(number))
    }

    /// The number of an item that was put on its way without one, and that nobody waits for
    /// otherwise; it is told once.
    pub fn take_number(&mut self, ticket: u64) -> Option<ItemId> {
        self.named.remove(&ticket)
    }

    /// Whether an item is on its way still.
    #[must_use]
    pub fn is_on_the_way(&self, ticket: u64) -> bool {
        self.outgoing.iter().any(|one| one.ticket == ticket)
    }

    /// What became of a put that its putter waits for; it is told once.
    pub fn take_outcome(&mut self, ticket: u64) -> Option<Result<ItemId, Refusal>> {
        self.outcomes.remove(&ticket)
    }

    /// Whether all puts up to this one came to an end.
    #[must_use]
    pub fn is_through(&self, ticket: u64) -> bool {
        let is_later = |one: &Outgoing<P>| one.ticket > ticket;
        match self.is_shuffled {
            false => self.outgoing.front().is_none_or(is_later),
            true => self.outgoing.iter().all(is_later),
        }
    }

    /// How many items are on their way.
    #[must_use]
    pub fn on_the_way(&self) -> usize {
        self.outgoing.len()
    }

    /// The putter does not wait for room any longer. Whether the item is not on its way any more; if it
    /// is being told just now, or was not told yet, there will be an outcome: there may be room.
    pub fn withdraw(&mut self, is_it: impl Fn(&Outgoing<P>) -> bool) -> bool {
        let Some(place) = self.outgoing.iter().position(is_it) else {
            return false;
        };
        let has_no_room = self.outgoing[place].was_told || self.is_away;
        if place >= self.under_way && has_no_room {
            self.outgoing.remove(place);
            return true;
        }
        self.outgoing[place].is_impatient = true;
        false
    }

    /// All of these that are not being told are not on their way any more.
    pub fn withdraw_all(&mut self, is_one: impl Fn(&Outgoing<P>) -> bool) {
        let waiting = self.outgoing.split_off(self.under_way);
        self.outgoing
            .extend(waiting.into_iter().filter(|one| !is_one(one)));
    }

    /// Nobody waits for room any longer: what is told finds some or comes to its end, and what nobody
    /// waits for is not told any more.
    pub fn withdraw_rest(&mut self) {
        let mut under_way = self.under_way;
        self.outgoing.retain_mut(|one| {
            one.is_impatient = true;
            let is_told = under_way > 0;
            under_way = under_way.saturating_sub(1);
            is_told || one.putter != Putter::Nobody
        });
    }

    /// How many numbers to fetch, if there are puts without one, or few are left of many.
    #[must_use]
    pub fn wants_numbers(&self) -> Option<u64> {
        let lacks = self.outgoing.back().is_some_and(|last| last.id.is_none());
        let left: u64 = self
            .numbers
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        let is_low = self.numbers_next >= NUMBERS_AHEAD && left < self.numbers_next / 2;
        (lacks || is_low).then_some(self.numbers_next)
    }

    /// These numbers are for our puts.
    pub fn handle_numbers(&mut self, first: ItemId, count: u64) {
        self.numbers.push_back(first.0..first.0 + count);
        self.numbers_next = (count * 2).min(NUMBERS_MAX);
        for place in 0..self.outgoing.len() {
            if self.outgoing[place].id.is_some() {
                continue;
            }
            let Some(id) = self.next_number() else {
                break;
            };
            let one = &mut self.outgoing[place];
            one.id = Some(id);
            if one.putter == Putter::Nobody {
                self.named.insert(one.ticket, id);
            }
        }
    }

    /// Whether there is something to be told.
    #[must_use]
    pub fn has_puts(&self) -> bool {
        let is_stuck = self.is_crowded && !self.outgoing.iter().any(Outgoing::is_urgent);
        let has_first = self
            .outgoing
            .front()
            .is_some_and(|first| first.id.is_some());
        self.under_way == 0 && has_first && !is_stuck
    }

    /// What is told next; nothing while something is under way.
    pub fn poll_puts(&mut self, at_most: usize) -> Vec<Outgoing<P>> {
        if !self.has_puts() {
            return Vec::new();
        }
        if self.is_crowded {
            // What does not wait for room does not wait behind what does.
            self.outgoing
                .make_contiguous()
                .sort_by_key(|one| !one.is_urgent());
            self.is_shuffled = true;
        }
        let named = self.outgoing.iter().take(at_most);
        let puts: Vec<Outgoing<P>> = named.take_while(|one| one.id.is_some()).cloned().collect();
        self.under_way = puts.len();
        puts
    }

    /// So many of what is under way were accepted, from the first on; for the others there is no
    /// room, or they are refused. What workers are to be answered.
    pub fn handle_told(
        &mut self,
        accepted: usize,
        refused: Option<Refusal>,
    ) -> Vec<(Request, Result<ItemId, Refusal>)> {
        let mut answers = Vec::new();
        let under_way = core::mem::take(&mut self.under_way);
        self.accepted += accepted as u64;
        let mut kept = VecDeque::new();
        for place in 0..under_way {
            let Some(one) = self.outgoing.pop_front() else {
                break;
            };
            let outcome = match (place < accepted, refused) {
                (true, _) => one.id.ok_or(Refusal::StreamFailed),
                (false, Some(refused)) => Err(refused),
                (false, None) if one.is_impatient => Err(Refusal::Full),
                (false, None) => {
                    kept.push_back(Outgoing {
                        was_told: true,
                        ..one
                    });
                    continue;
                }
            };
            answers.extend(self.conclude(&one, outcome));
        }
        if self.are_lost {
            // So that what was accepted is all that was put up to some point.
            self.outgoing.retain(|one| one.putter != Putter::Nobody);
        }
        self.is_crowded = !kept.is_empty();
        kept.append(&mut self.outgoing);
        self.outgoing = kept;
        if core::mem::take(&mut self.is_shuffled) {
            self.outgoing
                .make_contiguous()
                .sort_by_key(|one| one.ticket);
        }
        answers
    }

    /// A put has come to its end. What worker is to be answered.
    fn conclude(
        &mut self,
        one: &Outgoing<P>,
        outcome: Result<ItemId, Refusal>,
    ) -> Option<(Request, Result<ItemId, Refusal>)> {
        match one.putter {
            Putter::Local => drop(self.outcomes.insert(one.ticket, outcome)),
            Putter::Remote(request) => return Some((request, outcome)),
            Putter::Nobody => {
                self.are_lost |= outcome.is_err_and(|refused| refused != Refusal::Full);
            }
        }
        None
    }

    /// There are no numbers for our puts now, for this reason: those that need one are refused. What
    /// workers are to be answered.
    pub fn handle_no_numbers(&mut self, why: String) -> Vec<(Request, Result<ItemId, Refusal>)> {
        self.refusal = why;
        // None are fetched ahead until that goes well again.
        self.numbers_next = 1;
        let (named, nameless) = core::mem::take(&mut self.outgoing)
            .into_iter()
            .partition(|one| one.id.is_some());
        self.outgoing = named;
        let nameless: VecDeque<Outgoing<P>> = nameless;
        let ends = nameless.iter();
        ends.filter_map(|one| self.conclude(one, Err(Refusal::NotTaken)))
            .collect()
    }

    /// The doorbell was rung, or time has passed: there may be room.
    pub fn handle_ring(&mut self) {
        self.is_crowded = false;
    }

    /// How many items may be there besides those that were accepted: what is being told just now, and
    /// what was told without an answer.
    #[must_use]
    pub fn maybe_accepted(&self) -> u64 {
        self.uncertain + self.under_way as u64
    }

    /// Nobody will be told any more. Whoever waits is answered.
    pub fn break_off(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for one in self.outgoing.drain(..) {
            if let Putter::Remote(request) = one.putter {
                requests.push(request);
            }
        }
        self.uncertain += core::mem::take(&mut self.under_way) as u64;
        requests
    }

    /// An item of this weight was taken.
    pub fn weigh(&mut self, bytes: usize) {
        self.weight = self.weight - self.weight / 8 + bytes / 8;
    }

    /// How many to take of those that are wanted: as many as do not weigh too much.
    #[must_use]
    pub fn portion(&self, wanted: usize) -> usize {
        let fits = TAKEN_BYTES_MAX / self.weight.max(1);
        wanted.min(fits.max(1))
    }
}

impl<P> Outgoing<P> {
    /// Whether it cannot wait for room.
    fn is_urgent(&self) -> bool {
        self.is_beyond_bound || self.is_impatient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_puts(count: u64) -> Shared<&'static str> {
        let mut shared = Shared::default();
        for _ in 0..count {
            shared.push("x", Putter::Local, false, false);
        }
        shared
    }

    #[test]
    fn puts_wait_for_numbers_and_then_are_told_in_order() {
        let mut shared = with_puts(3);
        assert_eq!(
            (shared.has_puts(), shared.wants_numbers()),
            (false, Some(1))
        );
        shared.handle_numbers(ItemId(7), 1);
        assert_eq!(shared.wants_numbers(), Some(2));
        shared.handle_numbers(ItemId(8), 2);
        assert_eq!(
            (shared.poll_puts(9).len(), shared.poll_puts(9).len()),
            (3, 0)
        );
        assert_eq!(shared.handle_told(3, None), []);
        assert_eq!(shared.take_outcome(2), Some(Ok(ItemId(8))));
        assert!(shared.is_through(3) && shared.wants_numbers().is_none());
    }

    #[test]
    fn who_waits_for_a_number_gets_it_also_after_the_item_was_accepted() {
        let mut shared = Shared::default();
        let (ticket, number) = shared.push("x", Putter::Nobody, false, false);
        assert_eq!(number, None);
        shared.handle_numbers(ItemId(7), 1);
        shared.poll_puts(9);
        shared.handle_told(1, None);
        assert_eq!(shared.take_number(ticket), Some(ItemId(7)));
        assert_eq!(shared.take_number(ticket), None);
    }

    #[test]
    fn numbers_are_fetched_before_they_are_used_up_where_many_are() {
        let mut shared: Shared<&str> = Shared::default();
        shared.handle_numbers(ItemId(1), 200);
        assert_eq!(shared.wants_numbers(), None);
        for _ in 0..50 {
            shared.push("x", Putter::Local, false, false);
        }
        assert_eq!(shared.wants_numbers(), Some(400));
    }

    #[test]
    fn what_finds_no_room_waits_unless_it_is_impatient() {
        let mut shared = with_puts(2);
        shared.push("now", Putter::Local, false, true);
        shared.handle_numbers(ItemId(1), 8);
        assert_eq!(shared.poll_puts(9).len(), 3);
        shared.handle_told(1, None);
        assert_eq!(shared.take_outcome(1), Some(Ok(ItemId(1))));
        assert_eq!(shared.take_outcome(3), Some(Err(Refusal::Full)));
        assert!(!shared.has_puts(), "it waits for the bell");
        assert!(shared.is_through(1) && !shared.is_through(2));
        shared.handle_ring();
        assert_eq!(shared.poll_puts(9)[0].ticket, 2);
    }

    #[test]
    fn what_may_go_beyond_the_bound_does_not_wait_behind_what_may_not() {
        let mut shared = with_puts(1);
        shared.handle_numbers(ItemId(1), 8);
        shared.poll_puts(9);
        shared.handle_told(0, None);
        shared.push("beyond", Putter::Local, true, false);
        let told = shared.poll_puts(9);
        assert_eq!((told[0].ticket, told.len()), (2, 2));
        shared.handle_told(1, None);
        assert_eq!(shared.take_outcome(2), Some(Ok(ItemId(2))));
        assert!(!shared.has_puts());
    }

    #[test]
    fn a_put_for_which_there_was_no_room_can_be_withdrawn() {
        let mut shared = with_puts(2);
        shared.handle_numbers(ItemId(1), 8);
        shared.poll_puts(9);
        shared.handle_told(0, None);
        assert!(shared.withdraw(|one| one.ticket == 1));
        shared.handle_ring();
        shared.poll_puts(9);
        assert!(!shared.withdraw(|one| one.ticket == 2));
        shared.handle_told(0, None);
        assert_eq!(shared.take_outcome(2), Some(Err(Refusal::Full)));
    }

    #[test]
    fn a_put_that_was_not_told_yet_is_told_once_before_it_is_full() {
        let mut shared = with_puts(1);
        assert!(!shared.withdraw(|one| one.ticket == 1));
        shared.handle_numbers(ItemId(1), 8);
        assert_eq!(shared.poll_puts(9).len(), 1);
        shared.handle_told(1, None);
        assert_eq!(shared.take_outcome(1), Some(Ok(ItemId(1))));
        // While the stream is away nobody waits for that.
        shared.push("x", Putter::Local, false, false);
        shared.is_away = true;
        assert!(shared.withdraw(|one| one.ticket == 2));
    }

    #[test]
    fn after_one_that_nobody_waited_for_was_refused_none_follows() {
        let mut shared = with_puts(0);
        for _ in 0..4 {
            shared.push("x", Putter::Nobody, false, false);
        }
        shared.push("waited for", Putter::Local, false, false);
        shared.handle_numbers(ItemId(1), 8);
        assert_eq!(shared.poll_puts(3).len(), 3);
        shared.handle_told(2, Some(Refusal::NotTaken));
        assert!(shared.are_lost && shared.accepted == 2);
        assert_eq!(shared.poll_puts(9)[0].payload, "waited for");
    }

    #[test]
    fn whoever_quits_waits_for_no_room() {
        let mut shared = with_puts(0);
        for _ in 0..3 {
            shared.push("x", Putter::Nobody, false, false);
        }
        shared.handle_numbers(ItemId(1), 8);
        assert_eq!(shared.poll_puts(2).len(), 2);
        shared.withdraw_rest();
        assert_eq!(shared.on_the_way(), 2);
        shared.handle_told(1, None);
        assert!(shared.on_the_way() == 0 && shared.accepted == 1 && !shared.are_lost);
    }

    #[test]
    fn what_was_told_without_an_answer_may_be_there() {
        let mut shared = with_puts(3);
        shared.handle_numbers(ItemId(1), 8);
        assert_eq!(shared.maybe_accepted(), 0);
        shared.poll_puts(2);
        assert_eq!(shared.maybe_accepted(), 2);
        shared.break_off();
        assert_eq!((shared.accepted, shared.maybe_accepted()), (0, 2));
    }

    #[test]
    fn without_numbers_those_that_need_one_are_refused() {
        let mut shared = Shared::default();
        shared.handle_numbers(ItemId(1), 512);
        shared.push("named", Putter::Local, false, false);
        shared.numbers.clear();
        let (ticket, number) = shared.push("nameless", Putter::Local, false, false);
        assert_eq!((number, shared.wants_numbers()), (None, Some(1024)));
        assert_eq!(shared.handle_no_numbers("no memory".into()), []);
        assert_eq!(shared.take_outcome(ticket), Some(Err(Refusal::NotTaken)));
        // Nobody asks for numbers again and again.
        assert_eq!((shared.wants_numbers(), shared.on_the_way()), (None, 1));
    }

    #[test]
    fn an_answer_holds_for_what_was_asked_before_it() {
        let mut looks = Questions::default();
        let first = looks.ask();
        let begun = looks.begin();
        let second = looks.ask();
        looks.answer(begun);
        assert!(looks.is_answered(first) && !looks.is_answered(second));
        assert!(looks.is_asked() && looks.is_open());
    }
}
