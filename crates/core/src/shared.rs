//! PURE: the items on their way to a stream that others share, and what is known of the stream.
//!
//! The ledger has the items taken from the stream. This module has the items that go there, in
//! their order, with the callers that wait for that; the questions asked and how far they were
//! answered; and the number to take. It knows no connection, and not how the stream is told.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use hashbrown::HashSet;

use crate::ledger::{ItemId, Refusal};
use crate::request::Request;

/// The state of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Items without an end, wherever they are.
    pub unfinished: u64,
    /// Those of them that no supervisor has taken.
    pub untaken: u64,
    /// Items that supervisors have taken. Some of them may have been deleted since.
    pub taken: u64,
    /// Items that are done.
    pub done: u64,
    /// Items given up on, but for those that are tried again.
    pub dead: u64,
    /// Failed attempts that were followed by another one.
    pub retries: u64,
    /// Ends that were refused, because the item was another supervisor's.
    pub refused: u64,
    /// The state of its doorbell, in the stream's own words; empty until it is known.
    pub ring: String,
    /// Items that are gone without an end, because the stream was trimmed or they were deleted.
    pub gone: u64,
}

/// An order to supervisors of a stream that concerns a pause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steering {
    /// The number of the order; 0 if there was none.
    pub number: u64,
    /// True if nothing is to be taken.
    pub is_paused: bool,
    /// True if it is an order to all, which the stream keeps.
    pub is_of_all: bool,
}

/// The caller that waits for a put to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Putter {
    /// A thread of this process, which asks by its ticket.
    Local,
    /// None: the caller waits for all puts later, or for none.
    Nobody,
    /// A worker process.
    Remote(Request),
}

/// An item on its way.
#[derive(Debug, Clone)]
pub struct OutgoingPut<P> {
    /// Its number among all.
    pub ticket: u64,
    /// The item.
    pub payload: P,
    /// The caller that waits for it.
    pub putter: Putter,
    /// True if it may go beyond the bound.
    pub is_beyond_bound: bool,
    /// True if it does not wait for room.
    pub is_impatient: bool,
    /// True if it was told, and there was no room.
    was_told: bool,
}

/// Counts questions and answers: an answer holds for all questions that were asked before the
/// search for it began.
#[derive(Debug, Default, Clone, Copy)]
pub struct Questions {
    asked: u64,
    begun: u64,
    answered: u64,
}

impl Questions {
    /// Asks, and returns the number of the question.
    pub fn ask(&mut self) -> u64 {
        self.asked += 1;
        self.asked
    }

    /// Returns `true` if a question is open for which no search has begun.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked > self.begun
    }

    /// Returns `true` if the question with this number was answered.
    #[must_use]
    pub fn is_answered(&self, question: u64) -> bool {
        self.answered >= question
    }

    /// Returns `true` if a question is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.asked > self.answered
    }

    /// Begins the search for an answer, and returns the last question that it will answer.
    pub fn begin(&mut self) -> u64 {
        self.begun = self.asked;
        self.begun
    }

    /// Answers all questions up to this one.
    pub fn answer(&mut self, begun: u64) {
        self.answered = self.answered.max(begun);
    }
}

/// The stream's answer to a chunk of puts.
#[derive(Debug, Clone)]
pub struct Admission {
    /// The number of puts that it has looked at, from the first on. The others are to be put again.
    pub looked_at: usize,
    /// The number of puts that needed room and found it, from the first on. Those that need none
    /// are all admitted.
    pub admitted: usize,
    /// The number of the first accepted item. The others have the numbers after it.
    pub first: ItemId,
    /// The reason why none was accepted, if it is not a lack of room.
    pub refusal: Option<String>,
    /// The state then, if it was asked for.
    pub stream_state: StreamState,
}

impl Admission {
    /// Makes the answer that this many were looked at and none was accepted, for this reason.
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

    /// Returns the number of each put, if it was accepted; `are_beyond_bound` says of each if it
    /// needs no room.
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

/// The greatest size in bytes of items taken at once, besides the first.
const TAKEN_BYTES_MAX: usize = 16 << 20;

/// The state of one queue over a stream.
#[derive(Debug)]
pub struct Shared<P> {
    pub(crate) outgoing: VecDeque<OutgoingPut<P>>,
    /// The puts under way; once the stream has failed, those that it may have accepted.
    pub(crate) under_way: Vec<OutgoingPut<P>>,
    pub(crate) tickets: u64,
    pub(crate) outcomes: BTreeMap<u64, Result<ItemId, Refusal>>,
    /// True if puts wait for the doorbell of the stream, which had no room for them.
    pub is_full: bool,
    /// The reason why the last put was refused.
    pub refusal: String,
    /// True if a put that no caller waited for was refused.
    pub are_lost: bool,
    /// The number of accepted items.
    pub accepted: u64,
    /// True if nothing more is taken, and items that wait here are given back.
    pub is_quitting: bool,
    /// True if nothing more is told, and no caller waits for anything any more.
    pub is_left: bool,
    /// True if the stream has come back without all that was told to it.
    pub is_older: bool,
    /// True if it cannot be reached just now.
    pub is_away: bool,
    /// The reason why items told wait just now: the stream is away, or its replicas lag.
    pub lack: Option<String>,
    /// The state as far as the publisher knows it. The fetcher and the listener may get older
    /// answers, because their calls use connections of their own.
    pub stream_state: StreamState,
    /// The number of other supervisors at work.
    pub others: u64,
    /// Questions for the state of the stream.
    pub refreshes: Questions,
    /// Questions for items that can be taken now.
    pub queries: Questions,
    /// True if the queue is closed and nothing was there to take.
    pub is_dry: bool,
    /// True if ends were told last, so it is the turn of puts.
    pub(crate) is_for_puts: bool,
    /// Items whose ends are being told just now.
    pub(crate) telling: HashSet<ItemId>,
    /// Items that came again meanwhile, or that no caller wants. They are given back, so that an
    /// earlier answer is not taken for one about them.
    pub(crate) postponed: Vec<ItemId>,
    /// True if leases were last renewed when there was no room to take anything over.
    pub(crate) owes_takeover: bool,
    /// The last order that was followed.
    pub(crate) steering: Steering,
    /// The number of the last order to all that is known here, and the same as it was when the lease was
    /// to be renewed.
    pub(crate) ordered: u64,
    pub(crate) ordered_before: u64,
    /// True if the fetcher is to look at once what it must not work on any more.
    pub(crate) is_called: bool,
    /// True while the fetcher waits for items.
    pub is_taking: bool,
    /// The mean weight of an item.
    pub(crate) weight: usize,
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
            refreshes: Questions::default(),
            queries: Questions::default(),
            is_dry: false,
            is_for_puts: false,
            telling: HashSet::new(),
            postponed: Vec::new(),
            owes_takeover: false,
            steering: Steering::default(),
            ordered: 0,
            ordered_before: 0,
            is_called: false,
            is_taking: false,
            weight: 0,
        }
    }
}

impl<P: Clone> Shared<P> {
    /// Puts an item on its way, and returns its ticket.
    pub fn push(
        &mut self,
        payload: P,
        putter: Putter,
        is_beyond_bound: bool,
        is_impatient: bool,
    ) -> u64 {
        self.tickets += 1;
        self.outgoing.push_back(OutgoingPut {
            ticket: self.tickets,
            payload,
            putter,
            is_beyond_bound,
            // Room may never come where nothing is taken any more.
            is_impatient: is_impatient || self.is_quitting,
            was_told: false,
        });
        self.tickets
    }

    /// Returns the ticket of the last item that was put on its way.
    #[must_use]
    pub fn last_ticket(&self) -> u64 {
        self.tickets
    }

    /// Takes the outcome of a put that its caller waits for.
    pub fn take_outcome(&mut self, ticket: u64) -> Option<Result<ItemId, Refusal>> {
        self.outcomes.remove(&ticket)
    }

    /// Returns `true` if all puts up to this one have ended.
    #[must_use]
    pub fn is_through(&self, ticket: u64) -> bool {
        let mut all = self.under_way.iter().chain(&self.outgoing);
        all.all(|one| one.ticket > ticket)
    }

    /// Returns the number of items on their way.
    #[must_use]
    pub fn on_the_way(&self) -> usize {
        self.under_way.len() + self.outgoing.len()
    }

    /// Lets a put wait for room no longer. One that has found none, or cannot be told just now,
    /// ends with that; any other is told once. Returns the worker to answer.
    pub fn hurry(
        &mut self,
        is_it: impl Fn(&OutgoingPut<P>) -> bool,
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

    /// Drops these items, except those that are being told.
    pub fn forget(&mut self, is_one: impl Fn(&OutgoingPut<P>) -> bool) {
        self.outgoing.retain(|one| !is_one(one));
    }

    /// Lets no put wait for room any longer: what is told finds room or ends, and puts that no
    /// caller waits for are dropped.
    pub(crate) fn hurry_all(&mut self) {
        self.outgoing.retain(|one| one.putter != Putter::Nobody);
        for one in self.under_way.iter_mut().chain(&mut self.outgoing) {
            one.is_impatient = true;
        }
    }

    /// Returns `true` if there is something to put. Puts that do not wait for room do not wait
    /// behind those that do.
    #[must_use]
    pub fn has_puts(&self) -> bool {
        let mut outgoing = self.outgoing.iter();
        let has_some = match self.is_full {
            true => outgoing.any(OutgoingPut::is_urgent),
            false => !self.outgoing.is_empty(),
        };
        has_some && self.under_way.is_empty()
    }

    /// Returns the next chunk; nothing while one is under way.
    pub fn poll_puts(&mut self, at_most: usize) -> Vec<OutgoingPut<P>> {
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

    /// Handles the stream's answer to the chunk under way, and returns the workers to answer.
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
        self.handle_state(admission.stream_state);
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
            // The accepted items are then all that were put up to some point.
            self.outgoing.retain(|one| one.putter != Putter::Nobody);
        }
        kept.append(&mut self.outgoing);
        self.outgoing = kept;
        answers
    }

    fn conclude(
        &mut self,
        one: &OutgoingPut<P>,
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

    /// Notes how the stream stands, if that is known. The doorbell may have been rung since the last
    /// time: whoever waits for it would wait for the next ring, which need not come.
    pub fn handle_state(&mut self, state: StreamState) {
        if state == StreamState::default() {
            return;
        }
        if state.ring != self.stream_state.ring {
            self.handle_ring();
        }
        self.stream_state = state;
    }

    /// Notes that there may be room, because the doorbell was rung or time has passed.
    pub fn handle_ring(&mut self) {
        self.is_full = false;
    }

    /// Returns the number of items that the stream may have besides the accepted ones: those that
    /// are being told just now, or were told without an answer.
    #[must_use]
    pub fn maybe_accepted(&self) -> u64 {
        self.under_way.len() as u64
    }

    /// Stops telling, and returns the workers to answer. The stream may have the puts under way; if
    /// their answer still comes, it is handled.
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

    /// Updates the mean with the weight of a taken item.
    pub fn weigh(&mut self, bytes: usize) {
        self.weight = self.weight - self.weight / 8 + bytes / 8;
    }

    /// Returns the part of `wanted` items to take, so that they do not weigh too much.
    #[must_use]
    pub fn portion(&self, wanted: usize) -> usize {
        let fits = TAKEN_BYTES_MAX / self.weight.max(1);
        wanted.min(fits.max(1))
    }
}

impl<P> OutgoingPut<P> {
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

    /// Makes the answer to `looked_at` puts, of which `admitted` needed room and found it.
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
    fn a_ring_that_another_answer_shows_is_not_missed() {
        let state = |ring: &str| StreamState {
            ring: ring.into(),
            ..StreamState::default()
        };
        let mut shared = with_puts(1);
        shared.poll_puts(9);
        let stream_state = state("1-0");
        shared.handle_admission(Admission {
            stream_state,
            ..admission(1, 0, 0)
        });
        shared.handle_state(state("1-0"));
        assert!(!shared.has_puts(), "nothing has rung");
        shared.handle_state(StreamState::default());
        assert!(!shared.has_puts(), "nothing is known");
        // Somebody took an item, and an end that was told after that is answered first.
        shared.handle_state(state("2-0"));
        assert!(shared.has_puts());
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
    fn a_put_that_comes_while_its_supervisor_quits_waits_for_no_room() {
        let mut shared = with_puts(1);
        shared.quit();
        let ticket = shared.push("late", Putter::Local, false, false);
        shared.poll_puts(9);
        shared.handle_admission(admission(2, 0, 0));
        assert_eq!(shared.take_outcome(ticket), Some(Err(Refusal::Full)));
        assert_eq!(shared.take_outcome(1), Some(Err(Refusal::Full)));
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
        // While the stream is away, the put does not wait to be told.
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
        // Its answer still comes.
        shared.handle_admission(admission(2, 2, 1));
        assert_eq!((shared.accepted, shared.maybe_accepted()), (2, 0));
    }

    #[test]
    fn an_answer_holds_for_what_was_asked_before_it() {
        let mut questions = Questions::default();
        let first = questions.ask();
        let begun = questions.begin();
        let second = questions.ask();
        questions.answer(begun);
        assert!(questions.is_answered(first) && !questions.is_answered(second));
        assert!(questions.is_asked() && questions.is_open());
    }
}
