//! One supervisor of a fleet, for one life: the real ledger, dispatcher and account, three threads
//! that call the stream, workers, and threads that put and join.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dishrack_core::dispatcher::inflight::Answered;
use dishrack_core::dispatcher::{Dispatcher, Request};
use dishrack_core::ledger::{Cause, Credit, HolderId, ItemId, Ledger, Record, Started, Token};
use dishrack_core::shared::{OutgoingPut, Shared, StreamState};
use dishrack_core::stream::account::{Account, Statement};
use dishrack_core::stream::entry::{EntryId, Fields};

use super::line::{Line, SteeringTold, place_of};
use super::plan::Plan;
use crate::envelope::Envelope;
use crate::stream::{Told, fields};

pub(super) type Arrival = dishrack_core::dispatcher::inflight::Arrival<Envelope>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Working,
    /// It takes nothing more, and ends what it has.
    Quitting,
    /// It gives back what is left, and is gone.
    Leaving,
}

/// The publisher's present work.
#[derive(Debug)]
pub(super) enum Duty {
    Tell(Box<Telling>),
    /// Each with true if it needs no room, and the index of its waiting result.
    Put(Vec<(bool, Option<u64>)>),
    Refresh(u64),
    GiveBack,
}

#[derive(Debug)]
pub(super) struct Telling {
    pub(super) number: u64,
    pub(super) retries: u64,
    pub(super) records: Vec<Record<Envelope>>,
    pub(super) sent: Vec<(ItemId, u64)>,
    pub(super) statement: Statement,
    pub(super) answered: Answered,
}

/// The fetcher's present work.
#[derive(Debug)]
pub(super) enum Stay {
    Read {
        question: u64,
        /// The number that was wanted then.
        appetite: usize,
    },
    Maintain,
    /// Too little is known of some of the taken entries.
    Adopt(Vec<Arrival>, After),
    GiveBack(Vec<ItemId>),
}

/// The step after all is known of the taken entries.
#[derive(Debug)]
pub(super) enum After {
    Took(u64),
    Maintained(Vec<ItemId>, u64, SteeringTold),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) token: Token,
    pub(super) ordinal: u64,
    pub(super) id: ItemId,
    pub(super) number: u64,
}

/// The words of a worker.
#[derive(Debug)]
pub(super) enum Word {
    Done(Job),
    Failed(Job, Cause),
    Returned(Job),
    Get(bool),
    Put(Envelope),
    Join,
    Cancel(Request),
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) holder: HolderId,
    /// True if it asks for items, rather than being handed them.
    pub(super) is_loop: bool,
    pub(super) inbox: VecDeque<Job>,
    pub(super) running: Option<Job>,
    pub(super) is_hung: bool,
    pub(super) board: Started,
    pub(super) words: VecDeque<Word>,
    /// Its unanswered request, with the step of its beginning.
    pub(super) waits_for: Option<(Request, Asked, u64)>,
    pub(super) is_stopping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Item,
    Put(u64),
    End,
}

/// A thread that puts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Putter {
    Ready,
    /// It waits for its ticket's outcome.
    Waits(u64, u64),
}

/// A thread that joins: its first step, its look, and the earlier puts of this member.
#[derive(Debug)]
pub(super) struct Joiner {
    pub(super) since: u64,
    pub(super) look: u64,
    pub(super) before: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Member {
    /// Its consumer's name, which is new.
    pub(super) name: String,
    pub(super) dispatcher: Dispatcher<Envelope, u64>,
    pub(super) account: Account,
    pub(super) phase: Phase,
    pub(super) paused_until: Duration,
    pub(super) calls: u64,
    pub(super) publisher: Option<(Line, Duty)>,
    pub(super) is_publisher_called: bool,
    pub(super) interrupts: bool,
    pub(super) fetcher: Option<(Line, Stay)>,
    pub(super) is_fetcher_asleep: bool,
    pub(super) wakes_when_due: bool,
    /// The time at which the lease is to be renewed.
    pub(super) due: Duration,
    pub(super) listener: Option<Line>,
    pub(super) is_listener_asleep: bool,
    pub(super) heard: EntryId,
    pub(super) workers: Vec<Worker>,
    pub(super) requests: u64,
    /// Results for waiting members elsewhere.
    pub(super) sent: Vec<(ItemId, u64)>,
    pub(super) awaited: BTreeSet<u64>,
    /// The numbers of the puts whose results are waited for here.
    pub(super) mapped: BTreeSet<u64>,
    pub(super) replies: BTreeMap<u64, u64>,
    pub(super) putter: Putter,
    pub(super) joiner: Option<Joiner>,
    /// Puts that are not waited for.
    pub(super) untold: Vec<u64>,
}

impl Member {
    pub(super) fn begin(name: String, plan: &Plan, now: Duration) -> Self {
        let mut dispatcher = Dispatcher::new(Ledger::share(plan.options));
        dispatcher.shared = Some(Shared::default());
        if let Some(rate) = plan.rate {
            dispatcher.ledger.handle_rate(rate, now);
        }
        if let Some(slots) = plan.slots {
            dispatcher.ledger.handle_slots(slots);
        }
        Member {
            name,
            dispatcher,
            account: Account::default(),
            phase: Phase::Working,
            paused_until: Duration::ZERO,
            calls: 0,
            publisher: None,
            is_publisher_called: false,
            interrupts: false,
            fetcher: None,
            is_fetcher_asleep: false,
            wakes_when_due: false,
            due: now + plan.lease / 3,
            listener: None,
            is_listener_asleep: false,
            heard: EntryId::default(),
            workers: Vec::new(),
            requests: 0,
            sent: Vec::new(),
            awaited: BTreeSet::new(),
            mapped: BTreeSet::new(),
            replies: BTreeMap::new(),
            putter: Putter::Ready,
            joiner: None,
            untold: Vec::new(),
        }
    }

    pub(super) fn add_worker(&mut self, is_loop: bool, is_single: bool) {
        let credit = match is_single {
            true => Credit::single(),
            false => Credit::adaptive(),
        };
        let credit = match is_loop {
            true => credit.for_loop(),
            false => credit,
        };
        let holder = self.dispatcher.ledger.handle_join(Some(credit), u64::MAX);
        self.workers.push(Worker {
            holder,
            is_loop,
            inbox: VecDeque::new(),
            running: None,
            is_hung: false,
            board: Started::default(),
            words: VecDeque::new(),
            waits_for: None,
            is_stopping: false,
        });
    }

    pub(super) fn shared(&mut self) -> &mut Shared<Envelope> {
        let shared = self.dispatcher.shared.as_mut();
        shared.expect("it was made with the dispatcher")
    }

    pub(super) fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.joiner.is_some() || !self.replies.is_empty()
    }

    /// Returns the fields of an item on its way, and the index of its waiting result.
    pub(super) fn entry_of(&mut self, one: &OutgoingPut<Envelope>) -> (Fields, Option<u64>) {
        let number = one.payload.number;
        let mut all = fields(&[("item", &number.to_string())]);
        let mut awaited = None;
        if self.mapped.contains(&number) {
            let index = self.requests + 1;
            self.requests = index;
            self.replies.insert(index, number);
            awaited = Some(index);
            let (place, index) = (place_of(&self.name), index.to_string());
            all.0
                .extend(fields(&[("reply", &place), ("index", &index)]).0);
        }
        (all, awaited)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.dispatcher.ledger.is_broken()
    }

    /// Returns `true` if nothing is being given back.
    pub(super) fn fetcher_is_settled(&self) -> bool {
        !matches!(self.fetcher, Some((_, Stay::GiveBack(..))))
    }
}

impl Worker {
    /// Returns `true` if it waits for an answer, or will.
    pub(super) fn is_asking(&self) -> bool {
        let asks = |word: &Word| matches!(word, Word::Get(_) | Word::Put(_) | Word::Join);
        self.waits_for.is_some() || self.words.iter().any(asks)
    }
}

/// Returns the stream's state, as supervisors keep it. MIRRORED from `src/store/redis/read.rs`.
pub(super) fn stream_state(told: &Told) -> StreamState {
    StreamState {
        unfinished: told.unfinished,
        untaken: told.unfinished.saturating_sub(told.pending),
        taken: told.pending,
        done: told.done,
        dead: told.dead,
        retries: told.retries,
        refused: told.refused,
        ring: told.ring.to_string(),
        // This stream is never trimmed.
        gone: 0,
    }
}
