//! PURE: the next steps of the threads that speak with a stream, and the meaning of its answers.
//!
//! The publisher tells, the fetcher takes and renews leases, the listener hears the doorbell. They
//! have locks, calls and clocks. The decisions that they carry out are made here, so that the
//! simulator tests the same decisions.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Dispatcher, Reply, Request};
use crate::ledger::{Ballot, Cause, Fate, ItemId, Record, Refusal, Scene, Unfinished, Weight};
use crate::shared::{Admission, OutgoingPut, Shared, Steering, StreamState};

/// The greatest number of puts in one chunk: a chunk keeps other supervisors waiting.
const PUTS_MAX: usize = 2000;

const TAKEN_MAX: usize = 4096;

/// The next step of the publisher.
#[derive(Debug)]
pub enum PublisherStep<P> {
    /// Tell this.
    Settle(Telling<P>),
    /// Put this chunk, oldest first.
    Put(Vec<OutgoingPut<P>>),
    /// Look at the state of the stream, for all questions up to this one.
    Refresh(u64),
}

/// The statements of one call.
#[derive(Debug)]
pub struct Telling<P> {
    /// The number of the ledger's write.
    pub number: u64,
    /// The ends and failures of items that were taken.
    pub records: Vec<Record<P>>,
    /// Failed attempts that were followed by another one.
    pub retries: u64,
}

/// Returns one result for each item that is done by these records. An end that was withdrawn,
/// because its item was another supervisor's by then, leaves its result behind; that of a later end
/// counts.
pub fn results_of<P, R>(records: &[Record<P>], results: Vec<(ItemId, R)>) -> Vec<(ItemId, R)> {
    if results.is_empty() {
        return results;
    }
    let done = records
        .iter()
        .filter(|one| matches!(one, Record::Done { .. }));
    let done: BTreeSet<ItemId> = done.flat_map(Record::ids).collect();
    let told = results.into_iter().filter(|(id, _)| done.contains(id));
    let last: BTreeMap<ItemId, R> = told.collect();
    last.into_iter().collect()
}

/// The stream's answer to that.
#[derive(Debug, Default)]
pub struct Answered {
    /// Items that were no longer this supervisor's; what was told of them does not count.
    pub lost: Vec<ItemId>,
    /// The number of these that were not even told, and so are not counted there.
    pub untold: u64,
    /// The state then, if it was asked for.
    pub stream_state: StreamState,
}

/// The next step of the fetcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetcherStep {
    /// Call the stream.
    Call(FetcherCall),
    /// Take nothing, because no caller wants items. Callers that asked if there are any may leave.
    Nobody,
    /// Sleep until called, or until the lease is to be renewed if it is.
    Sleep {
        /// True if something is held, or others wait for this supervisor while it takes nothing.
        renews: bool,
    },
}

/// A call of the fetcher to the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetcherCall {
    /// Renew the lease, and take over at most this many.
    Maintain(usize),
    /// Give these back, which are not here any more.
    GiveBack(Vec<ItemId>),
    /// Take at most this many.
    Take {
        /// The greatest number.
        count: usize,
        /// True if it waits for the first of them, until the lease is to be renewed.
        waits: bool,
        /// The question that this answers.
        question: u64,
    },
}

/// An item that is this supervisor's from now on.
#[derive(Debug)]
pub struct Arrival<P> {
    /// The item, with its past.
    pub item: Unfinished<P>,
    /// Its size.
    pub bytes: usize,
    /// The reason why it is not to be worked on, but becomes a dead letter.
    pub fault: Option<Cause>,
    /// True if a caller elsewhere waits for its result.
    pub is_awaited: bool,
    /// The time since when it waits, since 1970: its put by the clock of the stream, or the end of its last
    /// attempt.
    pub since: Duration,
}

/// The result of renewing the lease.
#[derive(Debug)]
pub struct Maintained<P> {
    /// Items that are no longer this supervisor's.
    pub lost: Vec<ItemId>,
    /// Items that are this supervisor's from now on, because others left them behind.
    pub arrivals: Vec<Arrival<P>>,
    /// The number of other supervisors that were heard of within the time of a lease.
    pub others: u64,
    /// Items of this supervisor on which nobody is to work any more. The caller cancels them.
    pub cancelled: Vec<ItemId>,
    /// The last order to all supervisors that concerns a pause.
    pub steering: Steering,
}

/// The threads that have something to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// True for the publisher.
    pub publisher: bool,
    /// True for the fetcher.
    pub fetcher: bool,
    /// True for the listener.
    pub listener: bool,
}

impl<P> Arrival<P> {
    /// Converts the payload.
    #[must_use]
    pub fn map_payload<Q>(self, form: impl FnOnce(P) -> Q) -> Arrival<Q> {
        Arrival {
            item: self.item.map_payload(form),
            bytes: self.bytes,
            fault: self.fault,
            is_awaited: self.is_awaited,
            since: self.since,
        }
    }
}

impl<P> Maintained<P> {
    /// Converts the payloads of the arrivals.
    #[must_use]
    pub fn map_arrivals<Q>(
        self,
        form: impl FnOnce(Vec<Arrival<P>>) -> Vec<Arrival<Q>>,
    ) -> Maintained<Q> {
        Maintained {
            lost: self.lost,
            arrivals: form(self.arrivals),
            others: self.others,
            cancelled: self.cancelled,
            steering: self.steering,
        }
    }
}

impl<P: Clone> Shared<P> {
    /// Takes nothing more, and lets items that wait here be given back. Puts wait for room no
    /// longer.
    pub fn quit(&mut self) {
        self.is_quitting = true;
        self.hurry_all();
        // Ends a wait for more.
        self.queries.ask();
    }
}

/// The publisher's decisions.
impl<P: Weight + Clone, R: Ballot> Dispatcher<P, R> {
    /// Returns what to tell next, if anything: ends and puts in turn.
    pub fn next_step(&mut self) -> Option<PublisherStep<P>> {
        if self.ledger.is_broken() {
            return None;
        }
        let shared = self.shared.as_mut()?;
        let is_for_puts = core::mem::take(&mut shared.is_for_puts) && shared.has_puts();
        let write = match is_for_puts {
            true => None,
            false => self.ledger.poll_write(),
        };
        if let Some(write) = write {
            shared.is_for_puts = true;
            shared
                .telling
                .extend(write.records.iter().flat_map(Record::ids));
            let failed = write.records.iter();
            let failed = failed.filter(|one| matches!(one, Record::Failed { .. }));
            let dead = write.records.iter();
            let dead = dead.filter(|one| matches!(one, Record::Dead { .. }));
            return Some(PublisherStep::Settle(Telling {
                number: write.number,
                retries: (failed.count() - dead.count()) as u64,
                records: write.records,
            }));
        }
        let puts = shared.poll_puts(PUTS_MAX);
        if !puts.is_empty() {
            return Some(PublisherStep::Put(puts));
        }
        let is_asked = shared.refreshes.is_asked();
        is_asked.then(|| PublisherStep::Refresh(shared.refreshes.begin()))
    }

    /// Handles the stream's answer to the telling with this number and these records.
    pub fn settled(&mut self, number: u64, records: &[Record<P>], answered: Answered) {
        // An item that several records of a write are about is lost once.
        let lost = BTreeSet::from_iter(answered.lost);
        if !lost.is_empty() {
            // One may have been taken again before this was known, and then it is held by nobody here.
            self.call_fetcher();
        }
        for id in lost {
            let fate = fate_in(records, id);
            self.ledger.handle_lost(id, fate);
        }
        self.ledger.handle_untold(answered.untold);
        self.ledger.handle_written(number);
        let Some(shared) = &mut self.shared else {
            return;
        };
        shared.telling.clear();
        shared.handle_state(answered.stream_state);
    }

    /// Handles the stream's answer to the chunk of puts.
    pub fn admitted(&mut self, admission: Admission) {
        let shared = self.shared.as_mut();
        let answers = shared.map_or_else(Vec::new, |shared| shared.handle_admission(admission));
        self.answer_puts(answers);
    }

    pub(crate) fn answer_puts(
        &mut self,
        answers: impl IntoIterator<Item = (Request, Result<ItemId, Refusal>)>,
    ) {
        for (request, outcome) in answers {
            let reply = match outcome {
                Ok(id) => Reply::Accepted(id),
                Err(refused) => Reply::Refused(refused),
            };
            self.answer(request, reply);
        }
    }

    /// Handles the state of the stream, which answers all questions up to this one.
    pub fn refreshed(&mut self, question: u64, stream_state: StreamState, others: u64) {
        if let Some(shared) = &mut self.shared {
            shared.handle_ring();
            shared.stream_state = stream_state;
            shared.others = others;
            shared.refreshes.answer(question);
        }
    }
}

fn fate_in<P>(records: &[Record<P>], id: ItemId) -> Fate {
    let fate = |record: &Record<P>| match record {
        Record::Done { first, last } if (*first..=*last).contains(&id) => Some(Fate::Done),
        Record::Dead { id: one, .. } if *one == id => Some(Fate::Dead),
        _ => None,
    };
    records.iter().find_map(fate).unwrap_or(Fate::Open)
}

/// The fetcher's decisions.
impl<P: Weight + Clone, R: Ballot> Dispatcher<P, R> {
    /// Returns `true` if the fetcher's wait for the stream must end: a caller must know at once
    /// what the stream has, or no caller wants items any more.
    #[must_use]
    pub fn is_to_interrupt(&self) -> bool {
        let shared = self.shared.as_ref().filter(|shared| shared.is_taking);
        shared.is_some_and(|shared| {
            shared.queries.is_asked() || shared.is_called || !self.is_taking()
        })
    }

    /// Returns the fetcher's next step. `is_due`: the lease is to be renewed. The caller must poll
    /// what follows from it before it releases the lock.
    pub fn fetcher_step(&mut self, is_due: bool) -> FetcherStep {
        let surplus = self.take_surplus();
        if !surplus.is_empty() {
            return FetcherStep::Call(FetcherCall::GiveBack(surplus));
        }
        let wanted = self.wanted();
        let renews = self.renews();
        let is_closed = self.ledger.is_closed();
        let Some(shared) = &mut self.shared else {
            return FetcherStep::Sleep { renews };
        };
        // Items that others left behind come before new ones, as soon as there is room.
        let is_owed = wanted > 0 && shared.owes_takeover;
        let is_called = core::mem::take(&mut shared.is_called);
        if is_called || is_owed || (is_due && (wanted > 0 || renews)) {
            shared.owes_takeover = wanted == 0;
            shared.ordered_before = shared.ordered;
            return FetcherStep::Call(FetcherCall::Maintain(wanted));
        }
        let is_asked = shared.queries.is_asked();
        if is_asked && wanted == 0 {
            // It is not known what is there: a caller may still come for it.
            let question = shared.queries.begin();
            shared.queries.answer(question);
            return FetcherStep::Nobody;
        }
        if wanted == 0 {
            return FetcherStep::Sleep { renews };
        }
        shared.is_taking = true;
        FetcherStep::Call(FetcherCall::Take {
            count: wanted,
            // Once the queue is closed, it is asked at once if anything is left.
            waits: !is_asked && (!is_closed || shared.is_dry),
            question: shared.queries.begin(),
        })
    }

    /// Returns the number of items that are wanted here and are not here.
    fn wanted(&self) -> usize {
        let wanted = self.ledger.appetite().min(TAKEN_MAX);
        match &self.shared {
            Some(shared) if shared.is_quitting => 0,
            Some(shared) => shared.portion(wanted),
            None => 0,
        }
    }

    /// Returns `true` if items wait here that no worker or caller here will take. In a pause those
    /// that rest go on resting here.
    fn has_surplus(&self) -> bool {
        let counts = self.ledger.counts();
        match &self.shared {
            Some(shared) if shared.is_quitting => counts.waiting + counts.delayed > 0,
            Some(_) => self.ledger.is_paused() && counts.waiting > 0,
            None => false,
        }
    }

    /// Takes the items that wait here and are to be given back, so that no holder gets them.
    fn take_surplus(&mut self) -> Vec<ItemId> {
        let shared = self.shared.as_mut();
        let postponed = shared.map_or_else(Vec::new, |one| core::mem::take(&mut one.postponed));
        // The ends of its attempts are told first.
        if !postponed.is_empty() || !self.has_surplus() || !self.ledger.is_written() {
            return postponed;
        }
        let is_quitting = self.shared.as_ref().is_some_and(|one| one.is_quitting);
        let surplus = match is_quitting {
            true => self.ledger.waiting_ids().into_iter().collect(),
            false => self.ledger.excess_ids(),
        };
        self.lose(&surplus);
        surplus
    }

    /// Returns `true` if the lease is renewed also while nothing is wanted: something is held, or
    /// there is a pause, which somebody may end, or a rate that will allow more.
    fn renews(&self) -> bool {
        let is_held_back = self.ledger.is_paused() || self.ledger.waits_for_rate();
        let is_waiting = self.has_takers() && is_held_back;
        self.ledger.counts().unfinished() > 0 || is_waiting
    }

    /// Follows the order of a pause, or of its end, unless a later one was followed already.
    pub fn handle_steering(&mut self, steering: Steering) {
        let Some(shared) = &mut self.shared else {
            return;
        };
        if steering.is_of_all {
            shared.ordered = shared.ordered.max(steering.number);
        }
        if steering.number <= shared.steering.number {
            return;
        }
        shared.steering = steering;
        // The end of the pause of all ends one of this supervisor alone as well.
        self.set_pause(steering.is_paused);
    }

    fn set_pause(&mut self, is_paused: bool) {
        match is_paused {
            true => self.ledger.handle_pause(),
            false => self.ledger.handle_unpause(),
        }
    }

    /// Follows what a stream keeps. Where that is older than what was known before it was asked, the stream
    /// has come back with an older state, and the orders since are lost: this supervisor does as those that
    /// come later, unless it was ordered something by itself.
    fn handle_kept_steering(&mut self, kept: Steering) {
        let Some(shared) = &mut self.shared else {
            return;
        };
        let known = shared.ordered_before;
        if kept.number >= known || shared.steering.number > known {
            return self.handle_steering(kept);
        }
        let was_paused = shared.steering.is_paused;
        (shared.steering, shared.ordered) = (kept, kept.number);
        if kept.is_paused != was_paused {
            self.set_pause(kept.is_paused);
        }
    }

    /// Lets the fetcher look at once what it must not work on any more.
    pub fn call_fetcher(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.is_called = true;
        }
    }

    /// Handles taken items; `now` is since 1970. Returns `true` if callers that are leaving may go.
    pub fn took(&mut self, arrivals: Vec<Arrival<P>>, question: u64, now: Duration) -> bool {
        let is_empty = arrivals.is_empty();
        match (self.is_taking(), &mut self.shared) {
            // The takers have gone meanwhile, and others should not wait for a lease.
            (false, Some(shared)) => {
                let ids = arrivals.iter().map(|arrival| arrival.item.id);
                shared.postponed.extend(ids);
            }
            _ => self.arrive(arrivals, now),
        }
        let is_closed = self.ledger.is_closed();
        if let Some(shared) = &mut self.shared {
            shared.is_taking = false;
            // Questions that were asked during the wait need a new search.
            shared.queries.answer(question);
            shared.is_dry |= is_closed && is_empty && !shared.queries.is_asked();
        }
        is_empty || self.has_leaving()
    }

    fn arrive(&mut self, arrivals: Vec<Arrival<P>>, now: Duration) {
        for arrival in arrivals {
            let id = arrival.item.id;
            if let Some(shared) = &mut self.shared {
                if shared.telling.contains(&id) {
                    shared.postponed.push(id);
                    continue;
                }
                shared.weigh(arrival.bytes);
            }
            self.ledger.handle_arrival(arrival.item);
            if let Some(fault) = arrival.fault {
                let scene = Scene {
                    ended: now,
                    ..Scene::default()
                };
                self.ledger.handle_condemned(id, fault, scene);
            }
        }
    }

    /// Handles the result of renewing the lease. Takes and returns the items to give back: those
    /// that no holder here will take, or, if there are other supervisors, not soon.
    pub fn maintained(&mut self, maintained: Maintained<P>, now: Duration) -> Vec<ItemId> {
        self.lose(&maintained.lost);
        self.arrive(maintained.arrivals, now);
        self.handle_kept_steering(maintained.steering);
        if let Some(shared) = &mut self.shared {
            shared.others = maintained.others;
            // So that the state is known even where nothing is told for long.
            shared.refreshes.ask();
        }
        // The ends of attempts are told first.
        if !self.ledger.is_written() {
            return Vec::new();
        }
        let surplus: Vec<ItemId> = match (self.has_takers(), maintained.others > 0) {
            (false, _) => self.ledger.waiting_ids().into_iter().collect(),
            (true, true) => self.ledger.excess_ids(),
            (true, false) => Vec::new(),
        };
        self.lose(&surplus);
        surplus
    }

    fn lose(&mut self, ids: &[ItemId]) {
        for id in ids {
            self.ledger.handle_lost(*id, Fate::Open);
        }
    }
}

/// The listener's decisions, and the calls of all three threads.
impl<P: Weight + Clone, R: Ballot> Dispatcher<P, R> {
    /// Returns `true` if a caller waits for what other supervisors do. `is_awaited`: so does a
    /// caller that only the dispatcher's owner knows.
    fn wants_listener(&self, is_awaited: bool) -> bool {
        let shared = self.shared.as_ref();
        is_awaited || self.has_joins() || shared.is_some_and(|shared| shared.is_full)
    }

    /// Returns the state from which on the doorbell is to be heard; `None` unless a caller waits
    /// and no question is open.
    #[must_use]
    pub fn to_hear(&self, is_awaited: bool) -> Option<StreamState> {
        let shared = self.shared.as_ref()?;
        let is_to_hear = self.wants_listener(is_awaited) && !shared.refreshes.is_open();
        is_to_hear.then(|| shared.stream_state.clone())
    }

    /// Returns the threads that must look if there is something to do.
    #[must_use]
    pub fn calls(&self, is_awaited: bool) -> Calls {
        let Some(shared) = &self.shared else {
            return Calls::default();
        };
        let wants_some =
            || shared.queries.is_asked() || shared.is_called || self.ledger.appetite() > 0;
        Calls {
            publisher: self.ledger.has_write()
                || shared.has_puts()
                || shared.refreshes.is_asked()
                || self.is_to_interrupt(),
            fetcher: (!shared.is_taking && wants_some()) || self.has_surplus(),
            listener: self.wants_listener(is_awaited),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_was_withdrawn_sends_no_result() {
        let records = [Record::<()>::done(ItemId(1))];
        let all = alloc::vec![
            (ItemId(1), "withdrawn"),
            (ItemId(2), "lost"),
            (ItemId(1), "told")
        ];
        assert_eq!(results_of(&records, all), [(ItemId(1), "told")]);
    }
}
