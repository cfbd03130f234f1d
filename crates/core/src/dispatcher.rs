//! What the broker decides, without locks, doorbells and links: a pure layer over the ledger.
//!
//! The ledger knows items and holders. The dispatcher knows besides who waits for what: worker processes
//! that put, get and join, threads of this process that wait in a `get`, pools that began and
//! ended. Events go in by its methods; what follows comes out of [`Dispatcher::poll`], one thing at a
//! time and in a fixed order, to be carried out by whoever owns the dispatcher. That is the broker, and
//! the simulator, which so tries the very same decisions.

mod answers;

use alloc::borrow::ToOwned;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::shared::{Outgoing, Putter, Shared};
use crate::ledger::{
    Blame, Handed, HolderId, ItemId, Ledger, Notice, Outcome, Refusal, Report, Scene, Stale,
    Started, Token, Weight,
};

/// What a worker process asked, by the number that it gave to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub holder: HolderId,
    /// Its number for it.
    pub number: u64,
}

/// The answer to a request. Each is answered exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The item was accepted, and is durable.
    Accepted(ItemId),
    /// Here is an item.
    Item(Handed),
    /// Every item has its end: this many are done, and this many dead.
    Joined(u64, u64),
    /// How the queue stands, as whoever owns the dispatcher sees it.
    State,
    /// It was not done.
    Refused(Refusal),
}

/// What is to be carried out.
#[derive(Debug)]
pub enum Said<P, R> {
    /// Bring this to its holder.
    Deliver(Handed),
    /// Answer a worker.
    Answer(Request, Reply),
    /// This worker has had as many deliveries as it may.
    Worn(HolderId),
    /// This worker should give back what it has not begun.
    TakeBack(HolderId),
    /// Tell whoever wants to know.
    Report(Report<P, R>),
    /// The same, of no item in particular.
    Notice(Notice),
}

/// Whether there are workers, as far as supervisors told.
#[derive(Debug, Default)]
struct Pools {
    active: usize,
    /// Why there are none left, once there were some.
    loss: Option<String>,
    /// They were given up on, rather than stopped in order.
    is_spent: bool,
}

/// The decisions of one queue's broker.
#[derive(Debug)]
pub struct Dispatcher<P, R> {
    /// The queue's state. Deliveries are polled through the dispatcher.
    pub ledger: Ledger<P, R>,
    /// Requests that could not be answered at once, oldest first.
    puts: VecDeque<(Request, P)>,
    /// Puts that are not durable yet.
    staged: VecDeque<(Request, ItemId)>,
    gets: VecDeque<Request>,
    /// Each with the look at the stream that it waits for, and whether it waits for the end.
    joins: VecDeque<(Request, u64, bool)>,
    /// Gets that are over as soon as it was looked once more whether there is something.
    leaving: VecDeque<(Request, u64)>,
    /// Who wants to know how the queue stands, and the look that he waits for.
    askers: VecDeque<(Request, u64)>,
    answers: VecDeque<(Request, Reply)>,
    /// Holds what threads of this process got.
    local: HolderId,
    local_getters: usize,
    /// Those of them that go as soon as this query is answered, with or without an item.
    local_leaving: Vec<u64>,
    pools: Pools,
    /// The stream that the items come from and go to, if others share them.
    pub shared: Option<Shared<P>>,
}

impl<P: Weight + Clone, R> Dispatcher<P, R> {
    /// A dispatcher over a ledger that nobody else has.
    #[must_use]
    pub fn new(mut ledger: Ledger<P, R>) -> Self {
        let local = ledger.handle_join(None, u64::MAX);
        Dispatcher {
            ledger,
            puts: VecDeque::new(),
            staged: VecDeque::new(),
            gets: VecDeque::new(),
            joins: VecDeque::new(),
            leaving: VecDeque::new(),
            askers: VecDeque::new(),
            answers: VecDeque::new(),
            local,
            local_getters: 0,
            local_leaving: Vec::new(),
            pools: Pools::default(),
            shared: None,
        }
    }

    /// Accepts an item, beyond the bound if need be. With a journal that holds when it is durable.
    ///
    /// # Errors
    /// Why it is refused; it counts nowhere.
    pub fn put(&mut self, payload: P, is_beyond_bound: bool) -> Result<ItemId, Refusal> {
        match self.refusal(is_beyond_bound) {
            Some(refusal) => Err(refusal),
            None => Ok(self.accept(payload)),
        }
    }

    /// Accepts an item of which [`refusal`](Self::refusal) has just said that it is not refused.
    pub fn accept(&mut self, payload: P) -> ItemId {
        self.ledger.accept(payload)
    }

    /// Why a put would be refused, if it would.
    #[must_use]
    pub fn refusal(&self, is_beyond_bound: bool) -> Option<Refusal> {
        if let Some(shared) = &self.shared {
            // Others may do it, and they say whether there is room.
            let is_closed = shared.is_left || self.ledger.is_closed();
            return match (is_closed, self.ledger.is_broken()) {
                (true, _) => Some(Refusal::Closed),
                (false, true) => Some(Refusal::StreamFailed),
                (false, false) => None,
            };
        }
        if self.pools.is_spent && self.pools.active == 0 {
            return Some(self.no_workers_left());
        }
        match self.ledger.refusal(is_beyond_bound)? {
            Refusal::Full if self.are_workers_lost() => Some(self.no_workers_left()),
            refusal => Some(refusal),
        }
    }

    fn no_workers_left(&self) -> Refusal {
        let unfinished = self.unfinished();
        Refusal::NoWorkersLeft { unfinished }
    }

    /// What it means that the ledger's writes cannot be made durable.
    #[must_use]
    pub fn store_failed(&self) -> Refusal {
        match self.shared {
            Some(_) => Refusal::StreamFailed,
            None => Refusal::JournalFailed,
        }
    }

    /// A worker puts. A handler's room may have to come from itself, so it does not wait for it; a
    /// loop decides itself when to put.
    pub fn ask_put(&mut self, request: Request, payload: P, waits: bool) {
        let holder = request.holder;
        let is_holding = self.ledger.is_worker(holder) && self.ledger.held_by(holder) > 0;
        if self.shared.is_some() {
            return self.send_put(request, payload, is_holding && waits, !waits);
        }
        if waits && self.refusal(is_holding) == Some(Refusal::Full) {
            self.puts.push_back((request, payload));
            return;
        }
        match self.put(payload, is_holding && waits) {
            Ok(id) => self.staged.push_back((request, id)),
            Err(refusal) => self.answer(request, Reply::Refused(refusal)),
        }
    }

    fn send_put(
        &mut self,
        request: Request,
        payload: P,
        is_beyond_bound: bool,
        is_impatient: bool,
    ) {
        let refusal = self.refusal(true);
        match (refusal, &mut self.shared) {
            (None, Some(shared)) => {
                let putter = Putter::Remote(request);
                shared.push(payload, putter, is_beyond_bound, is_impatient);
            }
            (refusal, _) => {
                let refusal = refusal.unwrap_or_else(|| self.store_failed());
                self.answer(request, Reply::Refused(refusal));
            }
        }
    }

    /// A worker asks for an item.
    pub fn ask_get(&mut self, request: Request, waits: bool) {
        if self.answer_get(request) {
            return;
        }
        if !waits && self.shared.is_none() {
            self.answer(request, Reply::Refused(Refusal::Empty));
            return;
        }
        self.ledger.handle_getter_waiting(true);
        self.gets.push_back(request);
        if !waits {
            self.leave(request);
        }
    }

    /// Ends a get that waits: at once, or when it was looked once more whether there is something
    /// for it.
    fn leave(&mut self, request: Request) {
        if let Some(shared) = &mut self.shared {
            self.leaving.push_back((request, shared.queries.ask()));
        } else if let Some(at) = self.gets.iter().position(|other| *other == request) {
            self.gets.remove(at);
            self.ledger.handle_getter_waiting(false);
            self.answer(request, Reply::Refused(Refusal::Empty));
        }
    }

    /// Looks at the stream, if there is one: what is to be waited for.
    pub fn ask_look(&mut self) -> u64 {
        let shared = self.shared.as_mut();
        shared.map_or(0, |shared| shared.looks.ask())
    }

    /// A worker wants to know how the queue stands.
    pub fn ask_state(&mut self, request: Request) {
        let look = self.ask_look();
        self.askers.push_back((request, look));
    }

    /// A worker joins the queue.
    pub fn ask_join(&mut self, request: Request, waits: bool) {
        let holder = request.holder;
        if self.ledger.is_worker(holder) && self.ledger.held_by(holder) > 0 {
            self.answer(request, Reply::Refused(Refusal::WaitsForItself));
        } else {
            let look = self.ask_look();
            self.joins.push_back((request, look, waits));
        }
    }

    /// A worker waits no longer. If its request is not found, the answer is on its way.
    pub fn cancel(&mut self, request: Request) {
        if let Some(at) = self.puts.iter().position(|(other, _)| *other == request) {
            self.puts.remove(at);
            self.answer(request, Reply::Refused(Refusal::Full));
        } else if self.gets.contains(&request) {
            self.leave(request);
        } else if let Some(at) = self.joins.iter().position(|(other, ..)| *other == request) {
            self.joins.remove(at);
            let unfinished = self.unfinished();
            self.answer(request, Reply::Refused(Refusal::TimedOut { unfinished }));
        } else if let Some(shared) = &mut self.shared {
            let answer = shared.hurry(|one| one.putter == Putter::Remote(request));
            self.answer_puts(answer);
        }
    }

    /// The stream has failed: whoever waits for it is told.
    pub fn break_off_shared(&mut self) {
        let shared = self.shared.as_mut();
        for request in shared.map_or_else(Vec::new, Shared::break_off) {
            self.answer(request, Reply::Refused(Refusal::StreamFailed));
        }
    }

    /// Whether workers wait for the end.
    #[must_use]
    pub fn has_joins(&self) -> bool {
        !self.joins.is_empty()
    }

    /// Whether somebody is here who takes items, or may.
    #[must_use]
    pub fn has_takers(&self) -> bool {
        self.pools.active > 0 || self.local_getters > 0 || !self.gets.is_empty()
    }

    /// Whether all that happened is kept, or never will be.
    #[must_use]
    pub fn is_written(&self) -> bool {
        let shared = self.shared.as_ref();
        let are_puts_told = shared.is_none_or(|shared| shared.on_the_way() == 0);
        let is_over = self.ledger.is_broken() || shared.is_some_and(|shared| shared.is_left);
        is_over || (self.ledger.is_written() && are_puts_told)
    }

    /// Items without an end, as far as is known.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        match &self.shared {
            Some(shared) => shared.stream_state.unfinished,
            None => self.ledger.counts().unfinished(),
        }
    }

    pub(crate) fn answer(&mut self, request: Request, reply: Reply) {
        self.answers.push_back((request, reply));
    }

    /// Takes the next item for a thread of this process.
    pub fn get(&mut self) -> Option<Handed> {
        self.ledger.handle_get(self.local)
    }

    /// A thread of this process began or ended waiting in a `get`.
    pub fn local_waits(&mut self, is_waiting: bool) {
        self.ledger.handle_getter_waiting(is_waiting);
        match is_waiting {
            true => self.local_getters += 1,
            false => self.local_getters = self.local_getters.saturating_sub(1),
        }
    }

    /// A thread that waits in a `get` goes when this query is answered. From then on it counts no
    /// more as one that waits, so that nothing is taken for it that it would leave behind.
    pub fn local_leaves(&mut self, query: u64) {
        self.local_leaving.push(query);
    }

    /// The thread is awake. Whether it still counted.
    pub fn local_stays(&mut self, query: u64) -> bool {
        let place = self.local_leaving.iter().position(|one| *one == query);
        place
            .map(|place| self.local_leaving.remove(place))
            .is_some()
    }

    /// Whether threads wait in a `get` that is about to be over.
    pub fn has_leaving(&self) -> bool {
        !self.local_leaving.is_empty()
    }

    /// A loop without a worker of its own is there for what waits, or is not any more. It takes what
    /// is here; out of a stream, an item must be brought here for it first.
    pub fn loop_waits(&mut self, is_waiting: bool) {
        if self.shared.is_some() {
            self.ledger.handle_getter_waiting(is_waiting);
        }
    }

    /// How many threads of this process wait in a `get`.
    #[must_use]
    pub fn local_getters(&self) -> usize {
        self.local_getters
    }

    /// Why no `get` can be served any more, if none can.
    #[must_use]
    pub fn end_of_gets(&self) -> Option<Refusal> {
        if self.ledger.is_broken() {
            return Some(self.store_failed());
        }
        let counts = self.ledger.counts();
        let is_dry = self.shared.as_ref().is_none_or(|shared| shared.is_dry);
        let is_exhausted =
            self.ledger.is_closed() && counts.waiting + counts.delayed == 0 && is_dry;
        is_exhausted.then_some(Refusal::Closed)
    }

    /// Whether others work on the stream, and we have not left it.
    #[must_use]
    pub fn is_served_elsewhere(&self) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| shared.others > 0 && !shared.is_quitting)
    }

    /// How a `join` ends, if it does now: how many are done and dead, or why it cannot come to
    /// that. With a stream, that is as it was at this look or later.
    #[must_use]
    pub fn join_state(&self, look: u64) -> Option<Result<(u64, u64), Refusal>> {
        if self.ledger.is_broken() {
            return Some(Err(self.store_failed()));
        }
        let is_coming_to_it = match &self.shared {
            Some(shared) if shared.is_left => return Some(Err(Refusal::Closed)),
            Some(shared) if !shared.looks.is_answered(look) => return None,
            Some(shared) => {
                let is_finished = shared.stream_state.unfinished == 0 && shared.on_the_way() == 0;
                if is_finished && self.ledger.is_finished() {
                    return Some(Ok((shared.stream_state.done, shared.stream_state.dead)));
                }
                // What ended here may not be told yet.
                let is_under_way = !self.ledger.is_written();
                is_under_way || self.is_served_elsewhere()
            }
            None if self.ledger.is_finished() => {
                let counts = self.ledger.counts();
                return Some(Ok((counts.done, counts.dead)));
            }
            None => false,
        };
        let is_served_here = self.local_getters > 0 || self.ledger.held_by(self.local) > 0;
        let is_lost = self.are_workers_lost() && !is_served_here && !is_coming_to_it;
        is_lost.then(|| Err(self.no_workers_left()))
    }

    /// A supervisor began to work on this queue.
    pub fn pool_began(&mut self) {
        self.pools.active += 1;
        self.pools.is_spent = false;
    }

    /// A supervisor has no workers left, and why. `is_spent`: they were given up on. Whether nobody
    /// is left and nobody will come.
    pub fn pool_ended(&mut self, why: &str, is_spent: bool) -> bool {
        self.pools.active = self.pools.active.saturating_sub(1);
        self.pools.loss = Some(why.to_owned());
        self.pools.is_spent |= is_spent;
        is_spent && self.pools.active == 0
    }

    /// Whether there were workers, and are none any more.
    #[must_use]
    pub fn are_workers_lost(&self) -> bool {
        self.pools.active == 0 && self.pools.loss.is_some()
    }

    /// Whether somebody has ever worked on the queue, or others may who share its stream.
    #[must_use]
    pub fn was_ever_served(&self) -> bool {
        self.pools.active > 0 || self.pools.loss.is_some() || self.shared.is_some()
    }

    /// Why there are none left, once a pool has ended.
    #[must_use]
    pub fn loss_of_pools(&self) -> &str {
        self.pools.loss.as_deref().unwrap_or_default()
    }

    /// Nothing more for this worker: its waiting gets end, so that its loop does.
    pub fn stop(&mut self, holder: HolderId) {
        self.ledger.handle_stop(holder);
        while let Some(at) = self.gets.iter().position(|get| get.holder == holder) {
            if let Some(request) = self.gets.remove(at) {
                self.ledger.handle_getter_waiting(false);
                self.answer(request, Reply::Refused(Refusal::Closed));
            }
        }
    }

    /// A worker is gone, and its requests with it. How many items its death is charged to.
    pub fn detach(
        &mut self,
        holder: HolderId,
        started: Started,
        blame: Option<&Blame>,
        now: Duration,
    ) -> usize {
        self.puts.retain(|(request, _)| request.holder != holder);
        self.staged.retain(|(request, _)| request.holder != holder);
        self.joins.retain(|(request, ..)| request.holder != holder);
        self.leaving.retain(|(request, _)| request.holder != holder);
        self.askers.retain(|(request, _)| request.holder != holder);
        if let Some(shared) = &mut self.shared {
            let is_its = |one: &Outgoing<P>| matches!(one.putter, Putter::Remote(request) if request.holder == holder);
            shared.forget(is_its);
        }
        self.answers.retain(|(request, _)| request.holder != holder);
        let waiting = self.gets.len();
        self.gets.retain(|request| request.holder != holder);
        for _ in self.gets.len()..waiting {
            self.ledger.handle_getter_waiting(false);
        }
        self.ledger.handle_leave(holder, started, blame, now)
    }

    /// Whether this delivery is this worker's. If it is not, the item went to somebody else: a late
    /// word changes nothing, and is counted unless it only gives back.
    pub fn is_heard(&mut self, token: Token, is_returned: bool) -> bool {
        if self.ledger.handed(token).is_some() {
            return true;
        }
        if is_returned {
            self.ledger.handle_late_return(token);
        } else {
            self.ledger.handle_late(token);
        }
        false
    }

    /// Ends a delivery. Its result is kept if anybody is to be told; the scene says where and when
    /// that was, as far as it is known.
    ///
    /// # Errors
    /// [`Stale`] when it was settled or lost before.
    pub fn settle(
        &mut self,
        token: Token,
        service: Duration,
        outcome: Outcome<Option<R>>,
        scene: Scene,
        now: Duration,
    ) -> Result<(), Stale> {
        match outcome {
            Outcome::Done(result) => self.ledger.handle_done(token, service, result, scene),
            Outcome::Failed { cause, rest } => {
                let blame = Blame { cause, scene };
                self.ledger.handle_nack(token, blame, rest, now)
            }
            Outcome::Returned => self.ledger.handle_return(token),
            Outcome::Short(why) => self.ledger.handle_shortage(token, why, now),
        }
    }

    /// Whether an item that has been put just now may wait for a while: nobody asks for one, and no
    /// worker need be woken. A busy one may be ready for more, but will say so before it runs out.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let nobody_asks = self.gets.is_empty() && self.local_getters == 0;
        nobody_asks && !self.ledger.has_idle_taker() && !self.ledger.is_journaled()
    }

    /// The next thing to be carried out. After `None` everybody has what there is for him.
    pub fn poll(&mut self) -> Option<Said<P, R>> {
        loop {
            self.serve_gets();
            if let Some((request, reply)) = self.answers.pop_front() {
                return Some(Said::Answer(request, reply));
            }
            if let Some(notice) = self.ledger.poll_notice() {
                return Some(Said::Notice(notice));
            }
            if let Some(handed) = self.ledger.poll_delivery() {
                return Some(Said::Deliver(handed));
            }
            if self.admit_puts() {
                continue;
            }
            if let Some(holder) = self.ledger.poll_worn() {
                return Some(Said::Worn(holder));
            }
            if let Some(holder) = self.ledger.poll_hoarder() {
                return Some(Said::TakeBack(holder));
            }
            if let Some(report) = self.ledger.poll_report() {
                return Some(Said::Report(report));
            }
            self.answer_staged();
            self.answer_joins();
            self.answer_leaving();
            self.answer_askers();
            if self.answers.is_empty() {
                return None;
            }
        }
    }
}
