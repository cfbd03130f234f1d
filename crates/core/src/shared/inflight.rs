//! PURE: what those who speak with a stream are to do next, and what its answers mean here.
//!
//! The publisher tells, the fetcher takes and looks after what was taken, the listener hears the doorbell. They
//! have locks, calls and clocks; what they call for, and what comes of the answers, is decided here,
//! so that the simulator tries the very same decisions.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Admission, Outgoing, Shared, StreamState};
use crate::dispatcher::{Dispatcher, Reply, Request};
use crate::ledger::{Cause, Fate, ItemId, Record, Refusal, Scene, Unfinished, Weight};

/// Puts that go into one chunk: whoever takes them keeps others waiting meanwhile.
const PUTS_MAX: usize = 1000;

/// What is taken in one go, at most.
const TAKEN_MAX: usize = 4096;

/// What the publisher is to do next.
#[derive(Debug)]
pub enum PublisherStep<P> {
    /// Tell this.
    Settle(Telling<P>),
    /// Put this chunk, oldest first.
    Put(Vec<Outgoing<P>>),
    /// Look how the stream stands, for all questions up to this one.
    Look(u64),
}

/// What is told in one go.
#[derive(Debug)]
pub struct Telling<P> {
    /// The number of the ledger's write.
    pub number: u64,
    /// What became of items that were taken.
    pub records: Vec<Record<P>>,
    /// Failed attempts that are followed by another one.
    pub retries: u64,
}

/// What the stream says to that.
#[derive(Debug, Default)]
pub struct Answered {
    /// What was told of these does not count: they were not ours any more.
    pub lost: Vec<ItemId>,
    /// So many of these were not even told, and so are not counted there.
    pub untold: u64,
    /// As it was then, if it was asked at all.
    pub stream_state: StreamState,
}

/// What the fetcher is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taking {
    /// Renew the lease, and take over so many at most.
    Maintain(usize),
    /// Give these back, which are not here.
    GiveBack(Vec<ItemId>),
    /// Nobody is here to take anything for. Whoever asked whether there is something may go.
    Nobody,
    /// Take so many at most.
    Take {
        /// How many.
        count: usize,
        /// Whether to wait for the first of them, until the lease is to be renewed.
        waits: bool,
        /// The question that is answered by that.
        question: u64,
    },
    /// Sleep: until called, or until the lease is to be renewed, if there is something to renew.
    Sleep {
        /// Something is held.
        is_holding: bool,
    },
}

/// An item that is this supervisor's from now on.
#[derive(Debug)]
pub struct Arrival<P> {
    /// The item, with its past.
    pub item: Unfinished<P>,
    /// Its size.
    pub bytes: usize,
    /// Why it is not to be worked on, but to become a dead letter.
    pub fault: Option<Cause>,
    /// Somebody wants to know what comes of it.
    pub is_awaited: bool,
}

/// What came of looking after what was taken.
#[derive(Debug)]
pub struct Maintained<P> {
    /// These are not ours any more.
    pub lost: Vec<ItemId>,
    /// These are, from now on: others left them behind.
    pub arrivals: Vec<Arrival<P>>,
    /// Other supervisors that were heard of in the time of a lease.
    pub others: u64,
}

/// Who has something to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// The publisher.
    pub publisher: bool,
    /// The fetcher.
    pub fetcher: bool,
    /// The listener.
    pub listener: bool,
}

impl<P> Arrival<P> {
    /// The same with another form of its item.
    #[must_use]
    pub fn map_payload<Q>(self, form: impl FnOnce(P) -> Q) -> Arrival<Q> {
        Arrival {
            item: self.item.map_payload(form),
            bytes: self.bytes,
            fault: self.fault,
            is_awaited: self.is_awaited,
        }
    }
}

impl<P> Maintained<P> {
    /// The same with another form of its arrivals.
    #[must_use]
    pub fn map_arrivals<Q>(
        self,
        form: impl FnOnce(Vec<Arrival<P>>) -> Vec<Arrival<Q>>,
    ) -> Maintained<Q> {
        Maintained {
            lost: self.lost,
            arrivals: form(self.arrivals),
            others: self.others,
        }
    }
}

impl<P: Clone> Shared<P> {
    /// Nothing more is taken, and what waits here is given back. Whoever waits for room here, waits
    /// no longer.
    pub fn quit(&mut self) {
        self.is_quitting = true;
        self.hurry_all();
        // Ends a wait for more.
        self.queries.ask();
    }
}

/// The publisher's.
impl<P: Weight + Clone, R> Dispatcher<P, R> {
    /// What is to be told next, if anything: ends and puts in turn.
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
            shared.telling.extend(write.records.iter().map(Record::id));
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
        let is_asked = shared.looks.is_asked();
        is_asked.then(|| PublisherStep::Look(shared.looks.begin()))
    }

    /// The stream's answer to the telling with this number and these records.
    pub fn settled(&mut self, number: u64, records: &[Record<P>], answered: Answered) {
        // An item of which a write says more than one thing is lost once.
        for id in BTreeSet::from_iter(answered.lost) {
            let fate = fate_in(records, id);
            self.ledger.handle_lost(id, fate);
        }
        self.ledger.handle_untold(answered.untold);
        self.ledger.handle_written(number);
        let Some(shared) = &mut self.shared else {
            return;
        };
        shared.telling.clear();
        if answered.stream_state != StreamState::default() {
            shared.stream_state = answered.stream_state;
        }
    }

    /// The stream's answer to the chunk that it was to take.
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

    /// So the stream stands, for all questions up to this one.
    pub fn looked(&mut self, question: u64, stream_state: StreamState, others: u64) {
        if let Some(shared) = &mut self.shared {
            shared.handle_ring();
            shared.stream_state = stream_state;
            shared.others = others;
            shared.looks.answer(question);
        }
    }
}

/// What a write said of an item.
fn fate_in<P>(records: &[Record<P>], id: ItemId) -> Fate {
    let fate = |record: &Record<P>| match record {
        Record::Done { id: one } if *one == id => Some(Fate::Done),
        Record::Dead { id: one, .. } if *one == id => Some(Fate::Dead),
        _ => None,
    };
    records.iter().find_map(fate).unwrap_or(Fate::Open)
}

/// The fetcher's.
impl<P: Weight + Clone, R> Dispatcher<P, R> {
    /// Whether the fetcher waits for the stream, and somebody must know at once what it has, or nobody
    /// is left to take anything for.
    #[must_use]
    pub fn is_to_interrupt(&self) -> bool {
        let shared = self.shared.as_ref().filter(|shared| shared.is_taking);
        shared.is_some_and(|shared| shared.queries.is_asked() || !self.has_takers())
    }

    /// What is to be done next. `is_due`: the lease is to be renewed. What follows from it is to be
    /// polled before anybody else has a turn.
    pub fn next_taking(&mut self, is_due: bool) -> Taking {
        let surplus = self.take_surplus();
        if !surplus.is_empty() {
            return Taking::GiveBack(surplus);
        }
        let wanted = self.wanted();
        let is_holding = self.is_holding();
        let is_closed = self.ledger.is_closed();
        let Some(shared) = &mut self.shared else {
            return Taking::Sleep { is_holding };
        };
        // What others left behind comes before what is new, as soon as there is room for it.
        let is_owed = wanted > 0 && shared.owes_takeover;
        if is_owed || (is_due && (wanted > 0 || is_holding)) {
            shared.owes_takeover = wanted == 0;
            return Taking::Maintain(wanted);
        }
        let is_asked = shared.queries.is_asked();
        if is_asked && wanted == 0 {
            // It is not known what is there: somebody may still come for it.
            let question = shared.queries.begin();
            shared.queries.answer(question);
            return Taking::Nobody;
        }
        if wanted == 0 {
            return Taking::Sleep { is_holding };
        }
        shared.is_taking = true;
        Taking::Take {
            count: wanted,
            // Once closed, it is asked at once whether anything is left.
            waits: !is_asked && (!is_closed || shared.is_dry),
            question: shared.queries.begin(),
        }
    }

    /// How many items are wanted here that are not here.
    fn wanted(&self) -> usize {
        let wanted = self.ledger.appetite().min(TAKEN_MAX);
        match &self.shared {
            Some(shared) if shared.is_quitting => 0,
            Some(shared) => shared.portion(wanted),
            None => 0,
        }
    }

    /// Whether something waits here that nobody here will work on.
    fn has_surplus(&self) -> bool {
        let shared = self.shared.as_ref();
        let counts = self.ledger.counts();
        shared.is_some_and(|shared| shared.is_quitting) && counts.waiting + counts.delayed > 0
    }

    /// What waits here and is to be given back. It is not here any more, so that nobody gets it.
    fn take_surplus(&mut self) -> Vec<ItemId> {
        let shared = self.shared.as_mut();
        let postponed = shared.map_or_else(Vec::new, |one| core::mem::take(&mut one.postponed));
        // First it is told how its attempts went.
        if !postponed.is_empty() || !self.has_surplus() || !self.ledger.is_written() {
            return postponed;
        }
        let surplus: Vec<ItemId> = self.ledger.waiting_ids().into_iter().collect();
        self.lose(&surplus);
        surplus
    }

    fn is_holding(&self) -> bool {
        self.ledger.counts().unfinished() > 0
    }

    /// What was taken. Whether those who were about to go may do so. `now`: since 1970.
    pub fn took(&mut self, arrivals: Vec<Arrival<P>>, question: u64, now: Duration) -> bool {
        let is_empty = arrivals.is_empty();
        match (self.has_takers(), &mut self.shared) {
            // They have gone meanwhile, and others should not wait for a lease.
            (false, Some(shared)) => {
                let ids = arrivals.iter().map(|arrival| arrival.item.id);
                shared.postponed.extend(ids);
            }
            _ => self.arrive(arrivals, now),
        }
        let is_closed = self.ledger.is_closed();
        if let Some(shared) = &mut self.shared {
            shared.is_taking = false;
            // Whatever was asked while it was waited, must be looked for anew.
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

    /// What was taken was looked after. What is to be given back: what nobody here will work on, or,
    /// if others are there, not soon. It is not here any more.
    pub fn maintained(&mut self, maintained: Maintained<P>, now: Duration) -> Vec<ItemId> {
        self.lose(&maintained.lost);
        self.arrive(maintained.arrivals, now);
        if let Some(shared) = &mut self.shared {
            shared.others = maintained.others;
            // So that it is known how it stands also where nothing is told for long.
            shared.looks.ask();
        }
        // First it is told how attempts went.
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

/// The listener's, and who is called.
impl<P: Weight + Clone, R> Dispatcher<P, R> {
    /// Whether somebody waits for what others do. `is_awaited`: somebody of whom only the dispatcher's
    /// owner knows.
    fn wants_listener(&self, is_awaited: bool) -> bool {
        let shared = self.shared.as_ref();
        is_awaited || self.has_joins() || shared.is_some_and(|shared| shared.is_full)
    }

    /// Since when the doorbell is to be heard, if it is: somebody waits, and nothing is known that was
    /// not looked at.
    #[must_use]
    pub fn to_hear(&self, is_awaited: bool) -> Option<StreamState> {
        let shared = self.shared.as_ref()?;
        let is_to_hear = self.wants_listener(is_awaited) && !shared.looks.is_open();
        is_to_hear.then(|| shared.stream_state.clone())
    }

    /// Who is to be called, to look whether there is something to do.
    #[must_use]
    pub fn calls(&self, is_awaited: bool) -> Calls {
        let Some(shared) = &self.shared else {
            return Calls::default();
        };
        let wants_some = || shared.queries.is_asked() || self.ledger.appetite() > 0;
        Calls {
            publisher: self.ledger.has_write()
                || shared.has_puts()
                || shared.looks.is_asked()
                || self.is_to_interrupt(),
            fetcher: (!shared.is_taking && wants_some()) || self.has_surplus(),
            listener: self.wants_listener(is_awaited),
        }
    }
}
