//! PURE: what is on its way to a stream that others share, and what is known of it.
//!
//! The ledger has what was taken from the stream. Here are the items that go there, in their order,
//! with whoever waits for that; the questions that were asked and how far they were answered; and
//! how much to take. It knows no connection, and nothing of how the stream is told.

pub mod inflight;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
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

/// What a stream says to a chunk of puts.
#[derive(Debug, Clone)]
pub struct Admission {
    /// It has looked at so many, from the first on. The others are to be put again.
    pub looked_at: usize,
    /// So many of those that need room have found it, from the first on, and all that need none.
    pub admitted: usize,
    /// The number of the first one that was accepted. The others have the numbers after it.
    pub first: ItemId,
    /// Why none was accepted, if not for want of room.
    pub refusal: Option<String>,
    /// As it was then, if it was asked at all.
    pub stream_state: StreamState,
}

impl Admission {
    /// So many were looked at, and none was accepted, for this reason.
    #[must_use]
    pub fn refused(looked_at: usize, why: String) -> Self {
        Admission {
            looked_at,
            admitted: 0,
            first: ItemId(0),
            refusal: Some(why),
            stream_state: StreamState::default(),
        }
    }

    /// Of each put, its number if it was accepted. Of each is to be said whether it needs no room.
    pub fn numbers(&self, are_beyond_bound: impl Iterator<Item = bool>) -> Vec<Option<ItemId>> {
        let (mut admitted, mut next) = (self.admitted, self.first.0);
        let number = |(place, is_beyond_bound): (usize, bool)| {
            if place >= self.looked_at || self.refusal.is_some() {
                return None;
            }
            if !is_beyond_bound {
                admitted = admitted.checked_sub(1)?;
            }
            next += 1;
            Some(ItemId(next - 1))
        };
        are_beyond_bound.enumerate().map(number).collect()
    }
}

/// Taken items take so many bytes at most, besides the first.
const TAKEN_BYTES_MAX: usize = 16 << 20;

/// What one queue knows of its stream.
#[derive(Debug)]
pub struct Shared<P> {
    /// What is to be put, in its order.
    outgoing: VecDeque<Outgoing<P>>,
    /// What is being put just now; when the stream has failed, what may be there.
    under_way: Vec<Outgoing<P>>,
    tickets: u64,
    /// What became of puts that somebody waits for.
    outcomes: BTreeMap<u64, Result<ItemId, Refusal>>,
    /// Puts wait for the doorbell of the stream, which had no room for them.
    pub is_full: bool,
    /// Why the last put was refused.
    pub refusal: String,
    /// One that nobody waited for was.
    pub are_lost: bool,
    /// How many were accepted.
    pub accepted: u64,
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
    /// Ends were told last, and now it is for puts to be told.
    is_for_puts: bool,
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
            under_way: Vec::new(),
            tickets: 0,
            outcomes: BTreeMap::new(),
            is_full: false,
            refusal: String::new(),
            are_lost: false,
            accepted: 0,
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
            is_for_puts: false,
            telling: HashSet::new(),
            postponed: Vec::new(),
            owes_takeover: false,
            is_taking: false,
            weight: 0,
        }
    }
}

impl<P: Clone> Shared<P> {
    /// Puts an item on its way. Its ticket.
    pub fn push(
        &mut self,
        payload: P,
        putter: Putter,
        is_beyond_bound: bool,
        is_impatient: bool,
    ) -> u64 {
        self.tickets += 1;
        self.outgoing.push_back(Outgoing {
            ticket: self.tickets,
            payload,
            putter,
            is_beyond_bound,
            is_impatient,
            was_told: false,
        });
        self.tickets
    }

    /// The ticket of the last item that was put on its way.
    #[must_use]
    pub fn last_ticket(&self) -> u64 {
        self.tickets
    }

    /// What became of a put that its putter waits for; it is told once.
    pub fn take_outcome(&mut self, ticket: u64) -> Option<Result<ItemId, Refusal>> {
        self.outcomes.remove(&ticket)
    }

    /// Whether all puts up to this one came to an end.
    #[must_use]
    pub fn is_through(&self, ticket: u64) -> bool {
        let mut all = self.under_way.iter().chain(&self.outgoing);
        all.all(|one| one.ticket > ticket)
    }

    /// How many items are on their way.
    #[must_use]
    pub fn on_the_way(&self) -> usize {
        self.under_way.len() + self.outgoing.len()
    }

    /// The putter does not wait for room any longer. What has found none, or cannot be told just now, has
    /// come to its end by that; anything else is told once. What worker is to be answered.
    pub fn hurry(
        &mut self,
        is_it: impl Fn(&Outgoing<P>) -> bool,
    ) -> Option<(Request, Result<ItemId, Refusal>)> {
        let mut all = self.under_way.iter_mut().chain(&mut self.outgoing);
        all.find(|one| is_it(one))?.is_impatient = true;
        let place = self.outgoing.iter().position(is_it)?;
        if !self.outgoing[place].was_told && !self.is_away {
            return None;
        }
        let one = self.outgoing.remove(place)?;
        self.conclude(&one, Err(Refusal::Full))
    }

    /// All of these that are not being told are not on their way any more.
    pub fn forget(&mut self, is_one: impl Fn(&Outgoing<P>) -> bool) {
        self.outgoing.retain(|one| !is_one(one));
    }

    /// Nobody waits for room any longer: what is told finds some or comes to its end, and what nobody
    /// waits for is not told any more.
    pub(crate) fn hurry_all(&mut self) {
        self.outgoing.retain(|one| one.putter != Putter::Nobody);
        for one in self.under_way.iter_mut().chain(&mut self.outgoing) {
            one.is_impatient = true;
        }
    }

    /// Whether there is something to be put. What does not wait for room does not wait behind what
    /// does.
    #[must_use]
    pub fn has_puts(&self) -> bool {
        let mut outgoing = self.outgoing.iter();
        let has_some = match self.is_full {
            true => outgoing.any(Outgoing::is_urgent),
            false => !self.outgoing.is_empty(),
        };
        has_some && self.under_way.is_empty()
    }

    /// The next chunk; nothing while one is under way.
    pub fn poll_puts(&mut self, at_most: usize) -> Vec<Outgoing<P>> {
        if !self.has_puts() {
            return Vec::new();
        }
        if self.is_full {
            for one in core::mem::take(&mut self.outgoing) {
                match one.is_urgent() && self.under_way.len() < at_most {
                    true => self.under_way.push(one),
                    false => self.outgoing.push_back(one),
                }
            }
        } else {
            let count = self.outgoing.len().min(at_most);
            self.under_way.extend(self.outgoing.drain(..count));
        }
        self.under_way.clone()
    }

    /// What the stream says to the chunk that is under way. What workers are to be answered.
    pub fn handle_admission(
        &mut self,
        admission: Admission,
    ) -> Vec<(Request, Result<ItemId, Refusal>)> {
        let under_way = core::mem::take(&mut self.under_way);
        let numbers = admission.numbers(under_way.iter().map(|one| one.is_beyond_bound));
        let is_refused = admission.refusal.is_some();
        if let Some(why) = admission.refusal {
            self.refusal = why;
        }
        if admission.stream_state != StreamState::default() {
            self.stream_state = admission.stream_state;
        }
        self.is_full = false;
        let (mut answers, mut kept) = (Vec::new(), VecDeque::new());
        for (place, (mut one, number)) in under_way.into_iter().zip(numbers).enumerate() {
            let was_told = place < admission.looked_at;
            let outcome = match number {
                Some(id) => Ok(id),
                None if is_refused => Err(Refusal::NotTaken),
                None if was_told && one.is_impatient => Err(Refusal::Full),
                None => {
                    self.is_full |= was_told;
                    one.was_told |= was_told;
                    kept.push_back(one);
                    continue;
                }
            };
            self.accepted += u64::from(outcome.is_ok());
            answers.extend(self.conclude(&one, outcome));
        }
        if self.are_lost {
            // So that what was accepted is all that was put up to some point.
            self.outgoing.retain(|one| one.putter != Putter::Nobody);
        }
        kept.append(&mut self.outgoing);
        self.outgoing = kept;
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

    /// The doorbell was rung, or time has passed: there may be room.
    pub fn handle_ring(&mut self) {
        self.is_full = false;
    }

    /// How many items may be there besides those that were accepted: what is being told just now, or was
    /// told without an answer.
    #[must_use]
    pub fn maybe_accepted(&self) -> u64 {
        self.under_way.len() as u64
    }

    /// Nobody will be told any more. Whoever waits is answered. What is under way may be there, and stays
    /// what it is if its answer comes still.
    pub fn break_off(&mut self) -> Vec<Request> {
        let waiting = self.outgoing.drain(..).map(|one| one.putter);
        let told = self.under_way.iter_mut();
        let told = told.map(|one| core::mem::replace(&mut one.putter, Putter::Nobody));
        let request = |putter| match putter {
            Putter::Remote(request) => Some(request),
            Putter::Local | Putter::Nobody => None,
        };
        told.chain(waiting).filter_map(request).collect()
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

    /// Of so many that were looked at, so many that need room found it.
    fn admission(looked_at: usize, admitted: usize, first: u64) -> Admission {
        Admission {
            looked_at,
            admitted,
            first: ItemId(first),
            refusal: None,
            stream_state: StreamState::default(),
        }
    }

    #[test]
    fn puts_are_told_in_order_and_numbered_by_the_stream() {
        let mut shared = with_puts(3);
        assert_eq!(
            (shared.poll_puts(2).len(), shared.poll_puts(2).len()),
            (2, 0)
        );
        assert_eq!(shared.handle_admission(admission(2, 2, 7)), []);
        assert_eq!(shared.take_outcome(2), Some(Ok(ItemId(8))));
        assert!(shared.is_through(2) && !shared.is_through(3));
        assert_eq!(shared.poll_puts(9).len(), 1);
        shared.handle_admission(admission(1, 1, 20));
        assert_eq!(shared.take_outcome(3), Some(Ok(ItemId(20))));
        assert!(shared.is_through(3) && shared.on_the_way() == 0);
    }

    #[test]
    fn numbers_go_to_those_that_were_accepted() {
        let needs_room = [false, true, false, false, true];
        let numbers = |admission: Admission| admission.numbers(needs_room.into_iter());
        let named = |numbers: [Option<u64>; 5]| numbers.map(|number| number.map(ItemId)).to_vec();
        assert_eq!(
            numbers(admission(5, 1, 7)),
            named([Some(7), Some(8), None, None, Some(9)])
        );
        assert_eq!(
            numbers(admission(3, 2, 7)),
            named([Some(7), Some(8), Some(9), None, None])
        );
        let refused = Admission::refused(5, "no memory".into());
        assert_eq!(numbers(refused), named([None; 5]));
    }

    #[test]
    fn what_finds_no_room_waits_unless_it_is_impatient() {
        let mut shared = with_puts(2);
        shared.push("now", Putter::Local, false, true);
        assert_eq!(shared.poll_puts(9).len(), 3);
        shared.handle_admission(admission(3, 1, 1));
        assert_eq!(shared.take_outcome(1), Some(Ok(ItemId(1))));
        assert_eq!(shared.take_outcome(3), Some(Err(Refusal::Full)));
        assert!(!shared.has_puts(), "it waits for the bell");
        assert!(shared.is_through(1) && !shared.is_through(2));
        shared.handle_ring();
        assert_eq!(shared.poll_puts(9)[0].ticket, 2);
    }

    #[test]
    fn what_was_not_looked_at_does_not_wait_for_the_bell() {
        let mut shared = with_puts(2);
        shared.poll_puts(9);
        shared.handle_admission(admission(2, 0, 0));
        shared.handle_ring();
        shared.poll_puts(9);
        shared.handle_admission(admission(1, 1, 1));
        assert_eq!(shared.poll_puts(9)[0].ticket, 2);
    }

    #[test]
    fn what_may_go_beyond_the_bound_does_not_wait_behind_what_may_not() {
        let mut shared = with_puts(1);
        shared.poll_puts(9);
        shared.handle_admission(admission(1, 0, 0));
        shared.push("beyond", Putter::Local, true, false);
        let told = shared.poll_puts(9);
        assert_eq!((told[0].ticket, told.len()), (2, 1));
        assert_eq!(shared.on_the_way(), 2);
        shared.handle_admission(admission(1, 0, 2));
        assert_eq!(shared.take_outcome(2), Some(Ok(ItemId(2))));
        shared.handle_ring();
        assert_eq!(shared.poll_puts(9)[0].ticket, 1);
    }

    #[test]
    fn a_put_for_which_there_was_no_room_ends_when_its_time_is_over() {
        let mut shared = with_puts(2);
        shared.poll_puts(9);
        shared.handle_admission(admission(2, 0, 0));
        assert_eq!(shared.hurry(|one| one.ticket == 1), None);
        assert_eq!(shared.take_outcome(1), Some(Err(Refusal::Full)));
        shared.handle_ring();
        shared.poll_puts(9);
        shared.hurry(|one| one.ticket == 2);
        assert_eq!(shared.take_outcome(2), None, "it is being told");
        shared.handle_admission(admission(1, 0, 0));
        assert_eq!(shared.take_outcome(2), Some(Err(Refusal::Full)));
    }

    #[test]
    fn a_put_that_was_not_told_yet_is_told_once_before_it_is_full() {
        let mut shared = with_puts(1);
        shared.hurry(|one| one.ticket == 1);
        assert_eq!(shared.take_outcome(1), None);
        assert_eq!(shared.poll_puts(9).len(), 1);
        shared.handle_admission(admission(1, 1, 1));
        assert_eq!(shared.take_outcome(1), Some(Ok(ItemId(1))));
        // While the stream is away nobody waits for that.
        shared.push("x", Putter::Local, false, false);
        shared.is_away = true;
        shared.hurry(|one| one.ticket == 2);
        assert_eq!(shared.take_outcome(2), Some(Err(Refusal::Full)));
    }

    #[test]
    fn after_one_that_nobody_waited_for_was_refused_none_follows() {
        let mut shared = with_puts(0);
        for _ in 0..4 {
            shared.push("x", Putter::Nobody, false, false);
        }
        shared.push("waited for", Putter::Local, false, false);
        shared.poll_puts(2);
        shared.handle_admission(admission(2, 2, 1));
        assert_eq!(shared.poll_puts(1).len(), 1);
        shared.handle_admission(Admission::refused(1, "no memory".into()));
        assert!(shared.are_lost && shared.accepted == 2);
        assert_eq!(shared.refusal, "no memory");
        assert_eq!(shared.poll_puts(9)[0].payload, "waited for");
    }

    #[test]
    fn whoever_quits_waits_for_no_room() {
        let mut shared = with_puts(0);
        for _ in 0..3 {
            shared.push("x", Putter::Nobody, false, false);
        }
        assert_eq!(shared.poll_puts(2).len(), 2);
        shared.hurry_all();
        assert_eq!(shared.on_the_way(), 2);
        shared.handle_admission(admission(2, 1, 1));
        assert!(shared.on_the_way() == 0 && shared.accepted == 1 && !shared.are_lost);
    }

    #[test]
    fn what_was_told_without_an_answer_may_be_there() {
        let mut shared = with_puts(3);
        assert_eq!(shared.maybe_accepted(), 0);
        shared.poll_puts(2);
        assert_eq!(shared.maybe_accepted(), 2);
        shared.break_off();
        assert_eq!((shared.accepted, shared.maybe_accepted()), (0, 2));
        // Its answer comes all the same.
        shared.handle_admission(admission(2, 2, 1));
        assert_eq!((shared.accepted, shared.maybe_accepted()), (2, 0));
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
