//! The broker's decisions, without locks, doorbells and links: a pure layer over the ledger.
//!
//! The ledger knows items and holders. The dispatcher also knows the waiting requests: worker
//! processes that put, get and join, threads of this process that wait in a `get`, and pools that
//! began and ended. Events go in by its methods. Effects come out of [`Dispatcher::poll`], one at a
//! time and in a fixed order, and its owner carries them out. The owner is the broker, or the
//! simulator, which tests the same decisions.

mod answers;
pub mod inflight;
mod pools;
mod quiet;
mod sent;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ledger::{
    Ballot, Blame, Handed, HolderId, ItemId, Ledger, Notice, Outcome, Refusal, Report, Scene,
    Stale, Started, Token, Weight,
};
pub use crate::request::Request;
use crate::shared::{OutgoingPut, Putter, Shared};
use answers::WaitingGet;
pub use pools::Departure;
use pools::Pools;
pub use sent::SentDeliveries;

/// The answer to a request. Each is answered exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The item was accepted, and is durable.
    Accepted(ItemId),
    /// The next item, and those behind it: at most as many as were asked for, and at least one.
    Items(Vec<Handed>),
    /// The items are on their way to the worker already: they were handed out in advance.
    Ahead,
    /// Every item has its end: this many are done, and this many dead.
    Joined(u64, u64),
    /// The state of the queue, as the owner of the dispatcher sees it.
    State,
    /// The request was refused.
    Refused(Refusal),
}

/// An effect that is to be carried out.
#[derive(Debug)]
pub enum Effect<P, R> {
    /// Bring this delivery to its holder.
    Deliver(Handed),
    /// Answer a worker.
    Answer(Request, Reply),
    /// Replace this worker: it has had all deliveries that it may get.
    Worn(HolderId),
    /// Ask this worker to give back the deliveries that it has not begun.
    TakeBack(HolderId),
    /// Stop the work on this delivery: it is a copy that is not needed any more.
    Stop(Handed),
    /// Report this about an item to observers and stores.
    Report(Report<P, R>),
    /// Report this about the whole queue to observers.
    Notice(Notice),
}

/// The decisions of one queue's broker.
#[derive(Debug)]
pub struct Dispatcher<P, R> {
    /// The queue's state. Deliveries are polled through the dispatcher.
    pub ledger: Ledger<P, R>,
    /// Requests that could not be answered at once, oldest first.
    puts: VecDeque<(Request, P)>,
    /// Puts whose item, or the one that stands for it, is not durable yet.
    staged: VecDeque<(Request, ItemId, Reply)>,
    gets: VecDeque<WaitingGet>,
    /// Each with the question about the stream whose answer it waits for, and true if it waits for
    /// the end.
    joins: VecDeque<(Request, u64, bool)>,
    /// Gets that end as soon as this query of the stream is answered.
    leaving: VecDeque<(Request, u64)>,
    /// Requests for the queue's state, each with the question that it waits for.
    askers: VecDeque<(Request, u64)>,
    answers: VecDeque<(Request, Reply)>,
    /// Requests of workers that wait for something else than an item.
    elsewhere: Vec<Request>,
    /// The holder of the deliveries to threads of this process.
    local: HolderId,
    local_getters: usize,
    /// Threads of this process that have taken items and may take more.
    consumers: usize,
    /// Threads of this process that leave when their query is answered, with or without an item.
    local_leaving: Vec<u64>,
    pools: Pools,
    /// The stream that the items come from and go to, if others share them.
    pub shared: Option<Shared<P>>,
}

impl<P: Weight + Clone, R: Ballot> Dispatcher<P, R> {
    /// Makes a dispatcher over a ledger that has no other user.
    #[must_use]
    pub fn new(mut ledger: Ledger<P, R>) -> Self {
        let local = ledger.handle_join_threads();
        Dispatcher {
            ledger,
            puts: VecDeque::new(),
            staged: VecDeque::new(),
            gets: VecDeque::new(),
            joins: VecDeque::new(),
            leaving: VecDeque::new(),
            askers: VecDeque::new(),
            answers: VecDeque::new(),
            elsewhere: Vec::new(),
            local,
            local_getters: 0,
            consumers: 0,
            local_leaving: Vec::new(),
            pools: Pools::default(),
            shared: None,
        }
    }

    /// Accepts an item, beyond the bound if asked to. With a journal, it counts once it is durable.
    ///
    /// # Errors
    /// The reason of the refusal; a refused item counts nowhere.
    pub fn put(&mut self, payload: P, is_beyond_bound: bool) -> Result<ItemId, Refusal> {
        match self.refusal(is_beyond_bound) {
            Some(refusal) => Err(refusal),
            None => {
                self.ledger.check_relations(&payload)?;
                Ok(self.accept(payload))
            }
        }
    }

    /// Accepts an item that [`refusal`](Self::refusal) has just said is not refused.
    pub fn accept(&mut self, payload: P) -> ItemId {
        self.ledger.accept(payload)
    }

    /// Accepts items from the front of `payloads`, at most this many, and as many as there is room
    /// for; [`refusal`](Self::refusal) has just said that the first is not refused. Returns the
    /// last one's number.
    pub fn accept_many(
        &mut self,
        payloads: &mut VecDeque<P>,
        count: usize,
        is_beyond_bound: bool,
    ) -> ItemId {
        // A stream says itself whether it has room.
        let room = match is_beyond_bound || self.shared.is_some() {
            true => usize::MAX,
            false => self.ledger.room(),
        };
        self.ledger.accept_many(payloads, count.min(room))
    }

    /// Returns the reason why a put would be refused, if it would be.
    #[must_use]
    pub fn refusal(&self, is_beyond_bound: bool) -> Option<Refusal> {
        if let Some(shared) = &self.shared {
            // Other supervisors may work on it, and the stream itself says whether it has room.
            let is_closed = shared.is_left || self.ledger.is_closed();
            return match (is_closed, self.ledger.is_broken()) {
                (true, _) => Some(Refusal::Closed),
                (false, true) => Some(self.failure()),
                (false, false) => None,
            };
        }
        if self.pools.is_spent && self.are_workers_lost() {
            return Some(self.no_workers_left());
        }
        match self.ledger.refusal(is_beyond_bound)? {
            Refusal::Full if self.are_workers_lost() || self.lack().is_some() => {
                Some(self.no_workers_left())
            }
            refusal => Some(refusal),
        }
    }

    fn no_workers_left(&self) -> Refusal {
        let unfinished = self.unfinished();
        Refusal::NoWorkersLeft { unfinished }
    }

    /// Returns the refusal that follows when the ledger's writes cannot be made durable, or its books
    /// do not agree.
    #[must_use]
    pub fn failure(&self) -> Refusal {
        match self.shared {
            _ if self.ledger.is_inconsistent() => Refusal::Inconsistent,
            Some(_) => Refusal::StreamFailed,
            None => Refusal::JournalFailed,
        }
    }

    /// Handles a worker's put. A put by a handler does not wait for room, because only that handler
    /// may be able to make room; a loop decides itself when to put.
    pub fn ask_put(&mut self, request: Request, payload: P, waits: bool) {
        let holder = request.holder;
        let is_holding = self.ledger.is_handler(holder) && self.ledger.held_by(holder) > 0;
        if self.shared.is_some() {
            self.wait_elsewhere(request);
            return self.send_put(request, payload, is_holding && waits, !waits);
        }
        if waits && self.refusal(is_holding) == Some(Refusal::Full) {
            self.puts.push_back((request, payload));
            self.wait_elsewhere(request);
            return;
        }
        self.put_for(request, payload, is_holding && waits);
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
                let refusal = refusal.unwrap_or_else(|| self.failure());
                self.answer(request, Reply::Refused(refusal));
            }
        }
    }

    /// Handles a request of another process for items: for the next one, and for those that are
    /// there behind it, up to `at_most` in all. A worker that waits gets them when it is its turn,
    /// as an idle handler does, and more in advance with them. What it has in advance by now it did
    /// not see when it asked, and is a part of the answer.
    pub fn ask_get(&mut self, request: Request, at_most: usize, waits: bool) {
        self.pools.asks(request.holder);
        let ahead = self.ledger.prefetched_by(request.holder);
        let is_worker = self.ledger.is_worker(request.holder);
        let get = WaitingGet {
            request,
            at_most: at_most.saturating_sub(ahead),
            is_worker: is_worker && waits,
            is_impatient: !waits,
        };
        if ahead > 0 && (waits || get.at_most == 0) {
            self.answer(request, Reply::Ahead);
            return;
        }
        let is_answered = match get.is_worker {
            true => self.end_get(get),
            false => self.answer_get(get),
        };
        if is_answered {
            return;
        }
        if ahead > 0 {
            return self.answer(request, Reply::Ahead);
        }
        self.wait_for_get(get);
        // What others have in advance nobody has taken, so it is asked back.
        let is_known = waits || (self.shared.is_none() && self.ledger.handle_nothing_left());
        if !is_known {
            self.leave(request);
        }
    }

    /// Ends a get that waits: at once, or with a stream after one more query.
    fn leave(&mut self, request: Request) {
        if let Some(shared) = &mut self.shared {
            self.leaving.push_back((request, shared.queries.ask()));
        } else if let Some(at) = self.place_of_get(request) {
            self.take_get(at);
            self.answer(request, Reply::Refused(Refusal::Empty));
        }
    }

    /// Asks for the state of the stream, if there is one, and returns the number of the question.
    pub fn ask_refresh(&mut self) -> u64 {
        let shared = self.shared.as_mut();
        shared.map_or(0, |shared| shared.refreshes.ask())
    }

    /// Handles a worker's request for the queue's state.
    pub fn ask_state(&mut self, request: Request) {
        let question = self.ask_refresh();
        self.askers.push_back((request, question));
    }

    /// Handles a worker's join.
    pub fn ask_join(&mut self, request: Request, waits: bool) {
        let holder = request.holder;
        if self.ledger.is_handler(holder) && self.ledger.held_by(holder) > 0 {
            self.answer(request, Reply::Refused(Refusal::WaitsForItself));
        } else {
            let question = self.ask_refresh();
            self.joins.push_back((request, question, waits));
            self.wait_elsewhere(request);
        }
    }

    /// Ends a worker's wait. If its request is not found, the answer is on its way.
    pub fn cancel(&mut self, request: Request) {
        if let Some(at) = self.puts.iter().position(|(other, _)| *other == request) {
            self.puts.remove(at);
            self.answer(request, Reply::Refused(Refusal::Full));
        } else if self.place_of_get(request).is_some() {
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

    /// Handles the failure of the stream, and tells all requests that wait for it.
    pub fn break_off_shared(&mut self) {
        let failure = self.failure();
        let shared = self.shared.as_mut();
        for request in shared.map_or_else(Vec::new, Shared::break_off) {
            self.answer(request, Reply::Refused(failure));
        }
    }

    /// Notes that the ledger's books do not agree. Whoever waits for anything is told so by what is
    /// polled next, and nothing else is done.
    pub fn handle_inconsistent(&mut self) {
        self.ledger.handle_inconsistent();
        self.break_off_shared();
    }

    /// Returns `true` if workers wait for the end of all items.
    #[must_use]
    pub fn has_joins(&self) -> bool {
        !self.joins.is_empty()
    }

    /// Returns `true` if there is a holder that takes items or may take some.
    #[must_use]
    pub fn has_takers(&self) -> bool {
        self.pools.active > 0 || self.local_getters > 0 || !self.gets.is_empty()
    }

    /// Returns `true` if one of them may take items now: there is no pause.
    pub(crate) fn is_taking(&self) -> bool {
        self.has_takers() && !self.ledger.is_paused()
    }

    /// Returns `true` if all changes so far are durable, or never will be.
    #[must_use]
    pub fn is_written(&self) -> bool {
        let shared = self.shared.as_ref();
        let are_puts_told = shared.is_none_or(|shared| shared.on_the_way() == 0);
        let is_over = self.ledger.is_broken() || shared.is_some_and(|shared| shared.is_left);
        is_over || (self.ledger.is_written() && are_puts_told)
    }

    /// Returns the number of items without an end, as far as it is known.
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

    /// Notes that a thread of this process began or ended waiting in a `get`.
    pub fn local_waits(&mut self, is_waiting: bool) {
        self.ledger.handle_getter_waiting(is_waiting);
        match is_waiting {
            true => self.local_getters += 1,
            false => self.local_getters = self.local_getters.saturating_sub(1),
        }
    }

    /// Notes that a thread of this process takes items, or does so again after a `join`: from now on it
    /// counts as serving, also between two gets.
    pub fn consumer_came(&mut self) {
        self.consumers += 1;
    }

    /// Notes that such a thread has ended, or joins.
    pub fn consumer_left(&mut self) {
        self.consumers = self.consumers.saturating_sub(1);
    }

    /// Lets a thread leave its `get` when this query is answered. From now on it does not count as
    /// waiting, so no item is taken for it that it would leave behind.
    pub fn local_leaves(&mut self, query: u64) {
        self.local_leaving.push(query);
    }

    /// Handles the end of that thread's wait, and returns `true` if it still counted.
    pub fn local_stays(&mut self, query: u64) -> bool {
        let place = self.local_leaving.iter().position(|one| *one == query);
        place
            .map(|place| self.local_leaving.remove(place))
            .is_some()
    }

    /// Returns `true` if threads wait in a `get` that is about to end.
    pub fn has_leaving(&self) -> bool {
        !self.local_leaving.is_empty()
    }

    /// Notes that a loop without a worker of its own began or ended waiting for items. The loop
    /// takes items that are here; an item of a stream must first be brought here for it.
    pub fn loop_waits(&mut self, is_waiting: bool) {
        if self.shared.is_some() {
            self.ledger.handle_getter_waiting(is_waiting);
        }
    }

    /// Returns the number of threads of this process that wait in a `get`.
    #[must_use]
    pub fn local_getters(&self) -> usize {
        self.local_getters
    }

    /// Returns the reason why no `get` can be served any more, if that is so.
    #[must_use]
    pub fn end_of_gets(&self) -> Option<Refusal> {
        if self.ledger.is_broken() {
            return Some(self.failure());
        }
        let counts = self.ledger.counts();
        let is_dry = self.shared.as_ref().is_none_or(|shared| shared.is_dry);
        let is_exhausted =
            self.ledger.is_closed() && counts.waiting + counts.delayed == 0 && is_dry;
        is_exhausted.then_some(Refusal::Closed)
    }

    /// Returns `true` if other supervisors work on the stream, and this one has not left it.
    #[must_use]
    pub fn is_served_elsewhere(&self) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| shared.others > 0 && !shared.is_quitting)
    }

    /// Returns the result of a `join` if it ends now: the numbers of done and dead items, or the
    /// reason why the end cannot come. With a stream, the numbers are those of this answer or a
    /// later one.
    #[must_use]
    pub fn join_state(&self, question: u64) -> Option<Result<(u64, u64), Refusal>> {
        if self.ledger.is_broken() {
            return Some(Err(self.failure()));
        }
        let is_coming_to_it = match &self.shared {
            Some(shared) if shared.is_left => return Some(Err(Refusal::Closed)),
            Some(shared) if !shared.refreshes.is_answered(question) => return None,
            Some(shared) => {
                let is_finished = shared.stream_state.unfinished == 0 && shared.on_the_way() == 0;
                if is_finished && self.ledger.is_finished() {
                    return Some(Ok((shared.stream_state.done, shared.stream_state.dead)));
                }
                // An item that ended here may not have been told yet.
                let is_under_way = !self.ledger.is_written();
                is_under_way || self.is_served_elsewhere()
            }
            None if self.ledger.is_finished() => {
                let counts = self.ledger.counts();
                return Some(Ok((counts.done, counts.dead)));
            }
            // What has ended may have to be written.
            None => self.ledger.counts().unfinished() == 0 && !self.ledger.is_written(),
        };
        let is_served_here =
            self.local_getters > 0 || self.consumers > 0 || self.ledger.held_by(self.local) > 0;
        let is_lost = self.are_workers_lost() || self.lack().is_some();
        let is_lost = is_lost && !is_served_here && !is_coming_to_it;
        is_lost.then(|| Err(self.no_workers_left()))
    }

    /// Stops a worker: its waiting gets end, so its loop ends too.
    pub fn stop(&mut self, holder: HolderId) {
        self.ledger.handle_stop(holder);
        self.end_gets_of(holder);
    }

    /// Removes a dead worker and its requests. Returns the number of items charged with its death.
    pub fn detach(
        &mut self,
        holder: HolderId,
        started: Started,
        blame: Option<&Blame>,
        now: Duration,
    ) -> usize {
        self.puts.retain(|(request, _)| request.holder != holder);
        self.staged.retain(|(request, ..)| request.holder != holder);
        self.joins.retain(|(request, ..)| request.holder != holder);
        self.leaving.retain(|(request, _)| request.holder != holder);
        self.askers.retain(|(request, _)| request.holder != holder);
        if let Some(shared) = &mut self.shared {
            let is_its = |one: &OutgoingPut<P>| matches!(one.putter, Putter::Remote(request) if request.holder == holder);
            shared.forget(is_its);
        }
        self.answers.retain(|(request, _)| request.holder != holder);
        self.elsewhere.retain(|request| request.holder != holder);
        while let Some(at) = self
            .gets
            .iter()
            .position(|get| get.request.holder == holder)
        {
            self.take_get(at);
        }
        self.ledger.handle_leave(holder, started, blame, now)
    }

    /// Returns `true` if this delivery is still this worker's. If it is not, the item is another
    /// holder's by now: the late message changes nothing, and is counted unless it only gives back.
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

    /// Ends a delivery. Its result is kept if it is to be delivered; the scene says where and when
    /// the attempt was made, as far as it is known.
    ///
    /// # Errors
    /// [`Stale`] when the delivery was settled or lost before.
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

    /// Returns the next effect. After `None` every holder has all that it can have now.
    pub fn poll(&mut self) -> Option<Effect<P, R>> {
        loop {
            self.serve_gets();
            if let Some((request, reply)) = self.next_answer() {
                return Some(Effect::Answer(request, reply));
            }
            if let Some(handed) = self.ledger.poll_delivery() {
                return Some(self.hand_out(handed));
            }
            // After it, because it may find that workers are lacking.
            if let Some(notice) = self.ledger.poll_notice() {
                return Some(Effect::Notice(notice));
            }
            if self.admit_puts() {
                continue;
            }
            if let Some(holder) = self.ledger.poll_worn() {
                return Some(Effect::Worn(holder));
            }
            let recalled = self.ledger.poll_recalled();
            if let Some(holder) = recalled.or_else(|| self.ledger.poll_overloaded()) {
                return Some(Effect::TakeBack(holder));
            }
            if let Some(handed) = self.ledger.poll_stopped() {
                return Some(Effect::Stop(handed));
            }
            if let Some(report) = self.ledger.poll_report() {
                return Some(Effect::Report(report));
            }
            self.answer_staged();
            self.answer_joins();
            self.answer_impatient();
            self.answer_leaving();
            self.answer_askers();
            let (request, reply) = self.next_answer()?;
            return Some(Effect::Answer(request, reply));
        }
    }
}
