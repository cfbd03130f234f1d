//! PURE: answers those of the waiting requests that can be answered now.

use alloc::vec;
use alloc::vec::Vec;

use super::{Dispatcher, Effect, Reply, Request};
use crate::ledger::{Ballot, Handed, HolderId, Refusal, Weight};

/// A request for items.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitingGet {
    pub(super) request: Request,
    /// The greatest number of items in the answer.
    pub(super) at_most: usize,
    /// True for a worker's, which is answered when it is the worker's turn.
    pub(super) is_worker: bool,
    /// True for one that does not wait for what is not there yet.
    pub(super) is_impatient: bool,
}

impl<P: Weight + Clone, R: Ballot> Dispatcher<P, R> {
    /// Lets a request wait for something else than an item.
    pub(super) fn wait_elsewhere(&mut self, request: Request) {
        self.ledger.handle_waiting_elsewhere(request.holder);
        self.elsewhere.push(request);
    }

    /// Takes the next answer. One after which a loop would go on with what it holds is kept while an item
    /// runs alone, unless nothing more is done in any case.
    pub(super) fn next_answer(&mut self) -> Option<(Request, Reply)> {
        if self.elsewhere.is_empty() || self.ledger.is_inconsistent() {
            return self.answers.pop_front();
        }
        let mut places = 0..self.answers.len();
        let place = places.find(|place| self.may_tell(*place))?;
        self.answers.remove(place)
    }

    /// Returns `true` if this answer may be told. Then its request waits no longer.
    fn may_tell(&mut self, place: usize) -> bool {
        let Some((request, _)) = self.answers.get(place) else {
            return false;
        };
        let (request, holder) = (*request, request.holder);
        let Some(at) = self.elsewhere.iter().position(|one| *one == request) else {
            return true;
        };
        // Another thread of it may still wait.
        let its = self.elsewhere.iter().filter(|one| one.holder == holder);
        let may_go_on = its.count() > 1 || self.ledger.handle_back(holder);
        if may_go_on {
            self.elsewhere.swap_remove(at);
        }
        may_go_on
    }

    /// Answers with items or with the end of the queue, if it can.
    pub(super) fn answer_get(&mut self, get: WaitingGet) -> bool {
        match self.ledger.handle_get(get.request.holder) {
            Some(first) => {
                let items = self.with_more(first, get);
                self.answer(get.request, Reply::Items(items));
                true
            }
            None => self.end_get(get),
        }
    }

    /// Returns this delivery and those behind it that its `get` takes too.
    fn with_more(&mut self, first: Handed, get: WaitingGet) -> Vec<Handed> {
        let mut items = vec![first];
        while items.len() < get.at_most
            && let Some(next) = self.ledger.handle_get(get.request.holder)
        {
            items.push(next);
        }
        items
    }

    /// Answers with the end of the queue, if it has come, or with the end of this worker.
    pub(super) fn end_get(&mut self, get: WaitingGet) -> bool {
        let end = match self.end_of_gets() {
            None if !self.ledger.is_open(get.request.holder) => Some(Refusal::Closed),
            end => end,
        };
        if let Some(end) = end {
            self.answer(get.request, Reply::Refused(end));
        }
        end.is_some()
    }

    /// Lets a `get` wait for its answer.
    pub(super) fn wait_for_get(&mut self, get: WaitingGet) {
        match get.is_worker {
            true => self.ledger.handle_asking(get.request.holder, true),
            false => self.ledger.handle_getter_waiting(true),
        }
        self.gets.push_back(get);
    }

    /// Takes a `get` that waits no longer.
    pub(super) fn take_get(&mut self, at: usize) -> Option<WaitingGet> {
        let get = self.gets.remove(at)?;
        match get.is_worker {
            true => {
                let holder = get.request.holder;
                let is_its = |get: &WaitingGet| get.is_worker && get.request.holder == holder;
                let is_asking = self.gets.iter().any(is_its);
                self.ledger.handle_asking(holder, is_asking);
            }
            false => self.ledger.handle_getter_waiting(false),
        }
        Some(get)
    }

    /// Ends the gets of a worker that is to end.
    pub(super) fn end_gets_of(&mut self, holder: HolderId) {
        let is_its = |get: &WaitingGet| get.request.holder == holder;
        while let Some(at) = self.gets.iter().position(is_its) {
            if let Some(get) = self.take_get(at) {
                self.answer(get.request, Reply::Refused(Refusal::Closed));
            }
        }
    }

    /// Answers the gets that wait only for what loops give back, once these have nothing more.
    pub(super) fn answer_impatient(&mut self) {
        if self.gets.is_empty() || self.shared.is_some() || self.ledger.is_any_loop_ahead() {
            return;
        }
        while let Some(at) = self.gets.iter().position(|get| get.is_impatient)
            && let Some(get) = self.take_get(at)
        {
            self.answer(get.request, Reply::Refused(Refusal::Empty));
        }
    }

    /// Brings a delivery to its worker: as the answer, if the worker waits in a `get`.
    pub(super) fn hand_out(&mut self, first: Handed) -> Effect<P, R> {
        let is_its = |get: &WaitingGet| get.is_worker && get.request.holder == first.holder;
        let place = self.gets.iter().position(is_its);
        let Some(get) = place.and_then(|at| self.take_get(at)) else {
            return Effect::Deliver(first);
        };
        let items = self.with_more(first, get);
        // It may have been the worker's last one.
        if !self.ledger.is_open(first.holder) {
            self.end_gets_of(first.holder);
        }
        Effect::Answer(get.request, Reply::Items(items))
    }

    pub(super) fn place_of_get(&self, request: Request) -> Option<usize> {
        self.gets.iter().position(|get| get.request == request)
    }

    pub(super) fn serve_gets(&mut self) {
        if self.gets.is_empty() {
            return;
        }
        if self.end_of_gets().is_some() {
            while let Some(get) = self.take_get(0) {
                self.end_get(get);
            }
        }
        while let Some(at) = self.gets.iter().position(|get| !get.is_worker)
            && let Some(get) = self.gets.get(at).copied()
            && self.answer_get(get)
        {
            self.take_get(at);
        }
    }

    /// Admits waiting puts while there is room. Returns `true` if any was answered.
    pub(super) fn admit_puts(&mut self) -> bool {
        let mut is_any = false;
        while !self.puts.is_empty()
            && self.refusal(false) != Some(Refusal::Full)
            && let Some((request, payload)) = self.puts.pop_front()
        {
            self.put_for(request, payload, false);
            is_any = true;
        }
        is_any
    }

    /// Accepts or refuses an item of another process.
    pub(super) fn put_for(&mut self, request: Request, payload: P, is_beyond_bound: bool) {
        match self.put(payload, is_beyond_bound) {
            Ok(id) => self.staged.push_back((request, id, Reply::Accepted(id))),
            // What stands for an item is to outlive this process, as the item itself would have.
            Err(refusal @ Refusal::Duplicate { of }) => {
                let refused = Reply::Refused(refusal);
                self.staged.push_back((request, of, refused));
            }
            Err(refusal) => self.answer(request, Reply::Refused(refusal)),
        }
    }

    /// Answers the puts whose items are durable by now, or all of them if none can become durable.
    pub(super) fn answer_staged(&mut self) {
        while let Some((request, id, reply)) = self.staged.pop_front() {
            if self.ledger.is_durable(id) {
                self.answer(request, reply);
            } else if self.ledger.is_broken() {
                let refusal = self.failure();
                self.answer(request, Reply::Refused(refusal));
            } else {
                self.staged.push_front((request, id, reply));
                return;
            }
        }
    }

    pub(super) fn answer_joins(&mut self) {
        for _ in 0..self.joins.len() {
            let Some((request, question, waits)) = self.joins.pop_front() else {
                return;
            };
            let is_known = self.is_refreshed(question) || self.is_away();
            match self.join_state(question) {
                Some(Ok((done, dead))) => self.answer(request, Reply::Joined(done, dead)),
                Some(Err(refusal)) => self.answer(request, Reply::Refused(refusal)),
                None if !waits && is_known => {
                    let unfinished = self.unfinished();
                    self.answer(request, Reply::Refused(Refusal::TimedOut { unfinished }));
                }
                None => self.joins.push_back((request, question, waits)),
            }
        }
    }

    /// Returns `true` if the stream cannot be asked just now.
    pub fn is_away(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.is_away)
    }

    fn is_refreshed(&self, question: u64) -> bool {
        let shared = self.shared.as_ref();
        shared.is_none_or(|shared| shared.refreshes.is_answered(question))
    }

    pub(super) fn answer_leaving(&mut self) {
        let is_broken = self.ledger.is_broken();
        if let Some(shared) = &self.shared {
            let waiting = self.local_leaving.len();
            let is_open =
                |query: &u64| !is_broken && !shared.is_away && !shared.queries.is_answered(*query);
            self.local_leaving.retain(is_open);
            for _ in self.local_leaving.len()..waiting {
                self.local_waits(false);
            }
        }
        while let (Some((request, query)), Some(shared)) = (self.leaving.front(), &self.shared)
            && (shared.queries.is_answered(*query) || shared.is_away || self.ledger.is_broken())
        {
            let request = *request;
            self.leaving.pop_front();
            // If it is not found, it was answered with an item.
            if let Some(at) = self.place_of_get(request) {
                self.take_get(at);
                self.answer(request, Reply::Refused(Refusal::Empty));
            }
        }
    }

    pub(super) fn answer_askers(&mut self) {
        while let Some((request, question)) = self.askers.front().copied()
            && (self.is_refreshed(question) || self.ledger.is_broken())
        {
            self.askers.pop_front();
            self.answer(request, Reply::State);
        }
    }
}
