//! What worker processes ask of their queue, and those requests that wait for their time.
//!
//! A worker may put items on the queue it works for, get from it and join it. Each request is
//! answered exactly once; the worker keeps the time, and cancels a request that takes too long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Ending;
use super::core::{Core, Parcel};
use crate::error::Kind;
use crate::fail;
use crate::ledger::{Cause, HolderId, ItemId, Token};
use crate::link::frame::{Answer, Ask, Body, Packet, Up, Verdict, Wait};

#[derive(Debug)]
struct Request {
    holder: HolderId,
    number: u64,
}

/// Requests that could not be answered at once, oldest first.
#[derive(Debug, Default)]
pub(super) struct Requests {
    puts: VecDeque<(Request, Parcel)>,
    /// Puts that are not durable yet.
    staged: VecDeque<(Request, ItemId)>,
    gets: VecDeque<Request>,
    joins: VecDeque<Request>,
}

impl Core {
    /// Applies a worker's packet, record by record.
    pub(super) fn receive(&mut self, holder: HolderId, packet: &Packet) -> Result<(), String> {
        for record in packet.records::<Up<'_>>() {
            match record.map_err(|error| format!("sent an unreadable record: {error}"))? {
                Up::Ready { .. } => return Err("said twice that it is ready".into()),
                Up::Started { token, at_ns } => {
                    if self.emitter.wants_items() {
                        self.report_started(token, Some(at_ns));
                    }
                }
                Up::Settled {
                    token,
                    service_ns,
                    verdict,
                } => self.receive_verdict(holder, token, service_ns, verdict, packet)?,
                Up::Ask { request, ask } => self.receive_ask(holder, request, ask, packet)?,
                Up::Cancel { request } => self.cancel_request(holder, request),
                Up::HasBegun { ordinal } => self.revoked(holder, ordinal),
                Up::Worn => self.worn(holder),
                Up::Read { frames } => {
                    if let Some(seat) = self.seats.get_mut(holder) {
                        seat.link.has_read(frames);
                        self.send_to(holder);
                    }
                }
            }
        }
        Ok(())
    }

    fn receive_verdict(
        &mut self,
        holder: HolderId,
        token: Token,
        service_ns: u64,
        verdict: Verdict<'_>,
        packet: &Packet,
    ) -> Result<(), String> {
        let is_its_own = self
            .ledger
            .handed(token)
            .is_some_and(|h| h.holder == holder);
        if !is_its_own {
            // A late word about a lost delivery: its item went to somebody else.
            match verdict {
                Verdict::Returned => drop(self.ledger.handle_return(token)),
                _ => self.ledger.handle_late(token),
            }
            return Ok(());
        }
        let ending = match verdict {
            Verdict::Done(body) => Ending::Done(bytes_of(packet, body)?.into()),
            Verdict::Nack { reason, rest_ns } => match rest_ns {
                Some(rest) => {
                    Ending::Deferred(Cause::Nack(reason.into()), Duration::from_nanos(rest))
                }
                None => Ending::Failed(Cause::Nack(reason.into())),
            },
            Verdict::Panicked(message) => Ending::Failed(Cause::Panicked(message.into())),
            Verdict::Dropped => Ending::Failed(Cause::Dropped),
            Verdict::Undecodable(why) => Ending::Failed(Cause::Undecodable(why.into())),
            Verdict::Unserializable(why) => Ending::Failed(Cause::Unserializable(why.into())),
            Verdict::Returned => Ending::Returned,
        };
        fail::point("acknowledge: received");
        // Checked above: the token is not stale.
        let _ = self.settle(token, Duration::from_nanos(service_ns), ending);
        fail::point("acknowledge: settled");
        Ok(())
    }

    fn receive_ask(
        &mut self,
        holder: HolderId,
        number: u64,
        ask: Ask<'_>,
        packet: &Packet,
    ) -> Result<(), String> {
        let request = Request { holder, number };
        match ask {
            Ask::Put { wait, body } => {
                let parcel = Parcel::of(bytes_of(packet, body)?);
                self.ask_put(request, parcel, wait);
            }
            Ask::Get { wait } => self.ask_get(request, wait),
            Ask::Join { wait } => self.ask_join(request, wait),
            Ask::State => {
                let state = Answer::State {
                    len: self.ledger.len() as u64,
                    is_full: !self.ledger.has_room(),
                    is_closed: self.ledger.is_closed(),
                };
                self.answer(&request, state);
            }
            Ask::Close => {
                self.close();
                self.answer(&request, Answer::Closed);
            }
        }
        Ok(())
    }

    fn ask_put(&mut self, request: Request, parcel: Parcel, wait: Wait) {
        // A handler's room may have to come from itself; a loop decides itself when to put.
        let holder = request.holder;
        let is_holding = self.ledger.is_worker(holder) && self.ledger.held_by(holder) > 0;
        match self.try_put(&parcel, is_holding && wait == Wait::UntilCancelled) {
            Err(Kind::Full) if wait == Wait::UntilCancelled => {
                self.requests.puts.push_back((request, parcel));
            }
            Ok(id) => self.answer_when_durable(request, id),
            Err(refusal) => self.answer(&request, answer_of(refusal)),
        }
    }

    fn answer_when_durable(&mut self, request: Request, id: ItemId) {
        self.requests.staged.push_back((request, id));
        self.answer_staged();
    }

    /// Answers the puts whose items are durable by now, and all of them if none can ever be.
    pub(super) fn answer_staged(&mut self) {
        while let Some((request, id)) = self.requests.staged.pop_front() {
            if self.ledger.is_durable(id) {
                self.answer(&request, Answer::Accepted(id));
            } else if self.ledger.is_broken() {
                let failure = answer_of(self.journal_failed());
                self.answer(&request, failure);
            } else {
                self.requests.staged.push_front((request, id));
                return;
            }
        }
    }

    fn ask_get(&mut self, request: Request, wait: Wait) {
        if self.answer_get(&request) {
            return;
        }
        match wait {
            Wait::No => self.answer(&request, Answer::Empty),
            Wait::UntilCancelled => {
                self.ledger.handle_getter_waiting(true);
                self.requests.gets.push_back(request);
            }
        }
    }

    /// Answers with an item or with the end of the queue, if there is one of them.
    fn answer_get(&mut self, request: &Request) -> bool {
        while let Some(handed) = self.ledger.handle_get(request.holder) {
            let body = self
                .ledger
                .payload(handed.token)
                .map(|p| Arc::clone(&p.body));
            let item = Answer::Item {
                token: handed.token,
                ordinal: handed.ordinal,
                id: handed.id,
                attempt: handed.attempt,
                body: Body::Inline(body.as_deref().unwrap_or_default()),
            };
            match self.try_answer(request, item) {
                Ok(()) => return true,
                Err(why) => self.fail_undeliverable(handed.token, why),
            }
        }
        let end = match self.end_of_gets() {
            None if !self.ledger.is_open(request.holder) => Some(Kind::Closed),
            end => end,
        };
        match end {
            Some(end) => {
                self.answer(request, answer_of(end));
                true
            }
            None => false,
        }
    }

    fn ask_join(&mut self, request: Request, wait: Wait) {
        let is_handler = self.ledger.is_worker(request.holder);
        if is_handler && self.ledger.held_by(request.holder) > 0 {
            self.answer(&request, Answer::JoinWaitsForItself);
        } else if wait == Wait::No && self.join_state().is_none() {
            let unfinished = self.ledger.counts().unfinished();
            self.answer(&request, Answer::TimedOut { unfinished });
        } else {
            self.requests.joins.push_back(request);
        }
    }

    /// Admits waiting puts while there is room; whether any was admitted.
    pub(super) fn admit_waiting_puts(&mut self) -> bool {
        let mut is_any_admitted = false;
        while let Some((request, parcel)) = self.requests.puts.pop_front() {
            match self.try_put(&parcel, false) {
                Err(Kind::Full) => {
                    self.requests.puts.push_front((request, parcel));
                    break;
                }
                Ok(id) => {
                    is_any_admitted = true;
                    self.answer_when_durable(request, id);
                }
                Err(refusal) => self.answer(&request, answer_of(refusal)),
            }
        }
        is_any_admitted
    }

    pub(super) fn serve_waiting_gets(&mut self) {
        while let Some(request) = self.requests.gets.pop_front() {
            if !self.answer_get(&request) {
                self.requests.gets.push_front(request);
                return;
            }
            self.ledger.handle_getter_waiting(false);
        }
    }

    pub(super) fn answer_joins(&mut self) {
        if self.requests.joins.is_empty() {
            return;
        }
        while let Some(end) = self.join_state()
            && let Some(request) = self.requests.joins.pop_front()
        {
            let answer = match end {
                Ok((done, dead)) => Answer::Joined { done, dead },
                Err(kind) => answer_of(kind),
            };
            self.answer(&request, answer);
        }
    }

    fn cancel_request(&mut self, holder: HolderId, number: u64) {
        let is_it = |r: &Request| r.holder == holder && r.number == number;
        let requests = &mut self.requests;
        if let Some(at) = requests.puts.iter().position(|(r, _)| is_it(r)) {
            requests.puts.remove(at);
            self.answer(&Request { holder, number }, Answer::Full);
        } else if let Some(at) = requests.gets.iter().position(is_it) {
            requests.gets.remove(at);
            self.ledger.handle_getter_waiting(false);
            self.answer(&Request { holder, number }, Answer::Empty);
        } else if let Some(at) = requests.joins.iter().position(is_it) {
            requests.joins.remove(at);
            let unfinished = self.ledger.counts().unfinished();
            self.answer(&Request { holder, number }, Answer::TimedOut { unfinished });
        }
        // Otherwise its answer is on the way already.
    }

    /// A worker is asked to stop: its waiting gets end, so that its loop does.
    pub(super) fn refuse_requests_of(&mut self, holder: HolderId) {
        while let Some(at) = self.requests.gets.iter().position(|r| r.holder == holder) {
            if let Some(request) = self.requests.gets.remove(at) {
                self.ledger.handle_getter_waiting(false);
                self.answer(&request, Answer::Closed);
            }
        }
    }

    /// A worker is gone, and its requests with it.
    pub(super) fn forget_requests_of(&mut self, holder: HolderId) {
        let requests = &mut self.requests;
        requests.puts.retain(|(r, _)| r.holder != holder);
        requests.staged.retain(|(r, _)| r.holder != holder);
        requests.joins.retain(|r| r.holder != holder);
        let waiting = requests.gets.len();
        requests.gets.retain(|r| r.holder != holder);
        for _ in requests.gets.len()..waiting {
            self.ledger.handle_getter_waiting(false);
        }
    }

    /// Answers with anything but an item, which always works.
    fn answer(&mut self, request: &Request, answer: Answer<'_>) {
        let _ = self.try_answer(request, answer);
    }

    fn try_answer(&mut self, request: &Request, answer: Answer<'_>) -> Result<(), String> {
        if let Some(seat) = self.seats.get_mut(request.holder) {
            seat.link.answer(request.number, answer)?;
            self.send_to(request.holder);
        }
        Ok(())
    }
}

fn bytes_of<'a>(packet: &'a Packet, body: Body<'a>) -> Result<&'a [u8], String> {
    packet
        .bytes(body)
        .ok_or_else(|| "sent a record without its shared memory".into())
}

fn answer_of(kind: Kind) -> Answer<'static> {
    match kind {
        Kind::Closed => Answer::Closed,
        Kind::Journal(why) => Answer::JournalFailed { why },
        Kind::NoWorkersLeft { why, unfinished } => Answer::NoWorkersLeft { why, unfinished },
        Kind::TimedOut { unfinished } => Answer::TimedOut { unfinished },
        _ => Answer::Full,
    }
}
