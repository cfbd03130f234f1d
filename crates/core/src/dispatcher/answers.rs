//! PURE: answers those of the waiting requests that can be answered now.

use alloc::vec;

use super::{Dispatcher, Reply, Request};
use crate::ledger::{Ballot, Refusal, Weight};

/// A request for items.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitingGet {
    pub(super) request: Request,
    /// The greatest number of items in the answer.
    pub(super) at_most: usize,
}

impl<P: Weight + Clone, R: Ballot> Dispatcher<P, R> {
    /// Answers with items or with the end of the queue, if it can.
    pub(super) fn answer_get(&mut self, get: WaitingGet) -> bool {
        let WaitingGet { request, at_most } = get;
        if let Some(first) = self.ledger.handle_get(request.holder) {
            let mut items = vec![first];
            while items.len() < at_most
                && let Some(next) = self.ledger.handle_get(request.holder)
            {
                items.push(next);
            }
            self.answer(request, Reply::Items(items));
            return true;
        }
        let end = match self.end_of_gets() {
            None if !self.ledger.is_open(request.holder) => Some(Refusal::Closed),
            end => end,
        };
        if let Some(end) = end {
            self.answer(request, Reply::Refused(end));
        }
        end.is_some()
    }

    pub(super) fn place_of_get(&self, request: Request) -> Option<usize> {
        self.gets.iter().position(|get| get.request == request)
    }

    pub(super) fn serve_gets(&mut self) {
        while let Some(get) = self.gets.pop_front() {
            if !self.answer_get(get) {
                self.gets.push_front(get);
                return;
            }
            self.ledger.handle_getter_waiting(false);
        }
    }

    /// Admits waiting puts while there is room. Returns `true` if any was answered.
    pub(super) fn admit_puts(&mut self) -> bool {
        let mut is_any = false;
        while !self.puts.is_empty()
            && self.refusal(false) != Some(Refusal::Full)
            && let Some((request, payload)) = self.puts.pop_front()
        {
            match self.put(payload, false) {
                Ok(id) => self.staged.push_back((request, id)),
                Err(refusal) => self.answer(request, Reply::Refused(refusal)),
            }
            is_any = true;
        }
        is_any
    }

    /// Answers the puts whose items are durable by now, or all of them if none can become durable.
    pub(super) fn answer_staged(&mut self) {
        while let Some((request, id)) = self.staged.pop_front() {
            if self.ledger.is_durable(id) {
                self.answer(request, Reply::Accepted(id));
            } else if self.ledger.is_broken() {
                let refusal = self.store_failed();
                self.answer(request, Reply::Refused(refusal));
            } else {
                self.staged.push_front((request, id));
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
                self.gets.remove(at);
                self.ledger.handle_getter_waiting(false);
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
