//! Handles what worker processes send: the outcomes of their deliveries, and requests to their
//! queue.
//!
//! A worker may put items on the queue it works for, get from it and join it. Each request is
//! answered exactly once; the worker keeps the time, and cancels a request that takes too long.

use std::time::Duration;

use super::core::Core;
use super::mailboxes::ItemEnd;
use crate::error::NoSharedMemory;
use crate::fail;
use crate::link::process::{Through, UplinkReader};
use crate::payload::Payload;
use crate::payload::envelope::Envelope;
use crate::protocol::frame::{self, Answer, Ask, Body, Completion, Given, RUN_ITEMS, Up, Wait};
use crate::protocol::peer_error::PeerError;
use crate::protocol::ring::Corrupt;
use dishrack_core::dispatcher::{Reply, Request};
use dishrack_core::ledger::{Handed, HolderId, Outcome, Refusal, Token};

/// The number of records read in one go, as many as the ring holds, so that a worker that goes on
/// writing does not keep the lock from others.
const RECORDS_MAX: usize = 8192;

impl Core {
    /// Reads all that a worker has written. On an error the worker is ended.
    pub(super) fn drain(&mut self, holder: HolderId) -> Result<(), PeerError> {
        self.drain_local(holder);
        let attachment = self.attachments.get_mut(holder);
        let Some(mut uplink) = attachment.and_then(|attachment| attachment.uplink.take()) else {
            return Ok(());
        };
        let result = self.read_all(holder, &mut uplink);
        let ledger = &mut self.dispatcher.ledger;
        if !ledger.is_handler(holder) {
            ledger.handle_begun(holder, uplink.ring_pair.board().begun());
        }
        if let Some(attachment) = self.attachments.get_mut(holder) {
            attachment.uplink = Some(uplink);
            attachment.link.has_made_room();
            // There may be room now for messages that had none.
            self.unsent.push_back(holder);
        }
        result
    }

    fn read_all(&mut self, holder: HolderId, uplink: &mut UplinkReader) -> Result<(), PeerError> {
        let is_done = self.read_records(holder, uplink)?;
        // This also tells the worker which of its ends were seen.
        uplink.release();
        let doorbell = uplink.ring_pair.up_doorbell();
        if self.comes_by {
            doorbell.want_at_last();
        } else {
            // A reader sleeps on the worker's channel, not on the doorbell.
            let _ = doorbell.want();
        }
        // What comes from now on rings it. So one more look, for what came just before, is enough: a worker that goes
        // on writing would keep the lock from others, and run out of items meanwhile.
        if is_done && uplink.has_news() {
            self.read_records(holder, uplink)?;
            uplink.release();
        }
        Ok(())
    }

    /// Reads the records that are there now. Returns `false` if they are too many for one go.
    fn read_records(
        &mut self,
        holder: HolderId,
        uplink: &mut UplinkReader,
    ) -> Result<bool, PeerError> {
        // It is read before the records: an end that a record reports was written before.
        let through = uplink.peek_through();
        let mut record = std::mem::take(&mut self.record);
        let mut records = 0;
        let is_read = loop {
            records += 1;
            if records > RECORDS_MAX {
                self.unread.push(holder);
                self.timer.set(Duration::ZERO);
                break Ok(false);
            }
            match uplink.next(&mut record) {
                Ok(false) => break Ok(true),
                Ok(true) => {}
                Err(Corrupt) => break Err(PeerError::NoRecord),
            }
            match self.receive(holder, uplink, &record) {
                Ok(()) => uplink.consume(record.len()),
                Err(why) => break Err(why),
            }
        };
        self.record = record;
        if !is_read? {
            return Ok(false);
        }
        self.receive_through(holder, uplink, through)?;
        Ok(true)
    }

    /// Handles a worker's word that it is through with its deliveries up to this one.
    fn receive_through(
        &mut self,
        holder: HolderId,
        uplink: &mut UplinkReader,
        through: Through,
    ) -> Result<(), PeerError> {
        let handed = self
            .attachments
            .get(holder)
            .map_or(0, |attachment| attachment.link.handed());
        let Some((ordinal, served_ns)) = uplink.advance(through, handed)? else {
            return Ok(());
        };
        fail::point("done by a store: received");
        let served = Duration::from_nanos(served_ns);
        let ledger = &mut self.dispatcher.ledger;
        ledger.handle_done_through(holder, ordinal, served);
        fail::point("done by a store: settled");
        Ok(())
    }

    fn receive(
        &mut self,
        holder: HolderId,
        uplink: &mut UplinkReader,
        record: &[u8],
    ) -> Result<(), PeerError> {
        if let Some((done, result)) = Completion::decode(record) {
            return self.receive_completion(holder, done, result, uplink);
        }
        match frame::decode::<Up<'_>>(record)? {
            Up::Ready { .. } => return Err(PeerError::ReadyTwice),
            Up::Started { ordinal, at_ns } => {
                if self.emitter.wants_items() {
                    self.report_started(Token::of(holder, ordinal), Some(at_ns));
                }
            }
            Up::Settled {
                ordinal,
                service_ns,
                outcome,
            } => {
                let token = Token::of(holder, ordinal);
                let service = Duration::from_nanos(service_ns);
                self.receive_outcome(token, service, outcome, uplink)?;
                uplink.saw(ordinal);
            }
            Up::SettledRun {
                first,
                last,
                service_ns,
            } => {
                let run = frame::acknowledged_run(first, last)?;
                fail::point("done by a run: received");
                let service = Duration::from_nanos(service_ns);
                // Those that come too late are counted by the ledger, and change nothing.
                self.settle_run(holder, run, service);
                fail::point("done by a run: settled");
                uplink.saw(last);
            }
            Up::Ask { request, ask } => return self.receive_ask(holder, request, ask, uplink),
            Up::Cancel { request: number } => self.dispatcher.cancel(Request { holder, number }),
            Up::HasBegun { ordinal } => self.revoked(holder, ordinal, false),
            Up::Idle { begun } => self.dispatcher.ledger.handle_idle(holder, begun),
            Up::Worn => self.worn(holder),
            Up::Keeps { ordinal } => self.keep(Token::of(holder, ordinal), holder),
            Up::Forget { segment } => uplink.forget(segment),
            Up::Connect { number, home, from } => {
                self.connect(holder, uplink.take_socket(number)?, home, from);
            }
            Up::Stopping => return Err(PeerError::Misplaced("a client says")),
            Up::Released { ordinal } => {
                if let Some(attachment) = self.attachments.get_mut(holder) {
                    attachment.link.release(ordinal);
                }
            }
        }
        Ok(())
    }

    /// Handles the small result of a delivery. Where only a `map` is told of it, nothing else is made
    /// of it on the way.
    fn receive_completion(
        &mut self,
        holder: HolderId,
        done: Completion,
        result: &[u8],
        uplink: &mut UplinkReader,
    ) -> Result<(), PeerError> {
        let token = Token::of(holder, done.ordinal);
        let service = Duration::from_nanos(done.service_ns);
        let ledger = &self.dispatcher.ledger;
        let may_have_copies = ledger.needs_time();
        let is_told_of = ledger.is_journaled() || self.dispatcher.shared.is_some();
        if may_have_copies || is_told_of || self.emitter.wants_items() {
            let outcome = Outcome::Done(Body::Inline(result));
            self.receive_outcome(token, service, outcome, uplink)?;
        } else {
            fail::point("done by a result: received");
            // One that comes too late is counted by the ledger, and changes nothing.
            let ledger = &mut self.dispatcher.ledger;
            if let Ok(reply) = ledger.handle_done_now(token, service, Envelope::reply) {
                let end = || ItemEnd::Done(Payload::received(result, false));
                self.mailboxes.deliver(reply, end);
            }
            fail::point("done by a result: settled");
        }
        uplink.saw(done.ordinal);
        Ok(())
    }

    /// Keeps the memory of a payload that a worker goes on reading after its delivery's end.
    fn keep(&mut self, token: Token, holder: HolderId) {
        let envelope = self.dispatcher.ledger.payload_in_hand(token);
        let payload = envelope.map(|envelope| envelope.body.clone());
        if let (Some(payload), Some(attachment)) = (payload, self.attachments.get_mut(holder)) {
            attachment.link.keep(token.ordinal(), payload);
        }
    }

    fn receive_outcome(
        &mut self,
        token: Token,
        service: Duration,
        outcome: Outcome<Body<'_>>,
        uplink: &mut UplinkReader,
    ) -> Result<(), PeerError> {
        Core::check_word(&outcome)?;
        // It is found even if no caller wants it, so that what the worker sent is taken off.
        let outcome = outcome.try_map(|body| uplink.find(body))?;
        if !self.dispatcher.is_heard(token, outcome.is_return()) {
            return Ok(());
        }
        let outcome = outcome.map(|bytes| Payload::of_result(&bytes));
        fail::point("ended by a record: received");
        // `is_heard` above has checked that the token is not stale.
        let _ = self.settle(token, service, outcome);
        fail::point("ended by a record: settled");
        Ok(())
    }

    /// Checks that an outcome is one that whoever made the attempt can know.
    pub(super) fn check_word<R>(outcome: &Outcome<R>) -> Result<(), PeerError> {
        match outcome {
            Outcome::Failed { cause, .. } if !cause.is_a_workers_word() => {
                Err(PeerError::NotItsWord(cause.clone()))
            }
            _ => Ok(()),
        }
    }

    fn receive_ask(
        &mut self,
        holder: HolderId,
        number: u64,
        ask: Ask<'_>,
        uplink: &mut UplinkReader,
    ) -> Result<(), PeerError> {
        let request = Request { holder, number };
        if let Ask::Put { wait, body } = ask {
            let bytes = uplink.find(body)?;
            self.receive_put(request, Payload::received(&bytes, true), wait);
        } else {
            // What it has begun it stored before it asked.
            let begun = uplink.ring_pair.board().begun();
            self.dispatcher.ledger.handle_begun(holder, begun);
            self.receive_question(request, ask);
        }
        Ok(())
    }

    /// Handles a put of another process.
    pub(super) fn receive_put(&mut self, request: Request, body: Payload, wait: Wait) {
        match self.storage.limit_size(body.len()) {
            Ok(()) => {
                let waits = wait == Wait::UntilCancelled;
                self.look_for_room();
                if self.dispatcher.ledger.has_relations() {
                    self.note_time();
                }
                self.dispatcher.ask_put(request, Envelope::of(body), waits);
            }
            Err(refusal) => self.refuse(request, refusal),
        }
    }

    /// Handles any other request of another process.
    pub(super) fn receive_question(&mut self, request: Request, ask: Ask<'_>) {
        let waits = |wait| wait == Wait::UntilCancelled;
        match ask {
            // It has an item, and is handled apart.
            Ask::Put { .. } => {}
            Ask::Get { wait, at_most } => {
                if wait == Wait::No {
                    self.note_begun_by_all();
                }
                // Some may be overdue by now.
                self.note_time();
                // More would be too much for one go.
                let at_most = at_most.min(RUN_ITEMS) as usize;
                self.dispatcher.ask_get(request, at_most, waits(wait));
            }
            Ask::Join { wait } => self.dispatcher.ask_join(request, waits(wait)),
            Ask::State => self.dispatcher.ask_state(request),
            Ask::Close => {
                self.close();
                self.send_answer(request, Answer::Closed);
            }
        }
    }

    pub(super) fn reply(&mut self, request: Request, reply: Reply) {
        let answer = match reply {
            Reply::Accepted(id) => Answer::Accepted(id),
            Reply::Joined(done, dead) => Answer::Joined { done, dead },
            Reply::Refused(refusal) => return self.refuse(request, refusal),
            Reply::State => {
                let (len, is_full, is_closed) = self.state();
                Answer::State {
                    len: len as u64,
                    is_full,
                    is_closed,
                }
            }
            Reply::Items(items) => return self.hand_over(request, items),
            Reply::Ahead => Answer::Delivered,
        };
        self.send_answer(request, answer);
    }

    /// Answers with items. The attempt of one that cannot be brought to the other process has failed; if
    /// that is so with all of them, it goes on waiting.
    fn hand_over(&mut self, request: Request, items: Vec<Handed>) {
        let is_any = match self.dispatcher.is_client(request.holder) {
            true => self.answer_client(request, items),
            false => self.bring_all(&items),
        };
        if !is_any {
            self.dispatcher.ask_get(request, 1, true);
        } else if !self.dispatcher.is_client(request.holder) {
            self.send_answer(request, Answer::Delivered);
        }
    }

    /// Answers a client. Returns `false` if none of the items can be brought to it.
    fn answer_client(&mut self, request: Request, mut items: Vec<Handed>) -> bool {
        items.retain(|handed| self.fits_a_connection(handed));
        if self.emitter.wants_items() {
            // A worker says itself when it begins.
            let tokens = items.iter().map(|handed| handed.token);
            tokens.for_each(|token| self.report_started(token, None));
        }
        let Some(last) = items.last().map(|handed| handed.ordinal) else {
            return false;
        };
        if let Some(attachment) = self.attachments.get_mut(request.holder) {
            for handed in &items {
                if let Some(envelope) = self.dispatcher.ledger.payload(handed.token) {
                    let is_last = handed.ordinal == last;
                    let link = &mut attachment.link;
                    link.answer_item(request.number, handed, &envelope.body, is_last);
                }
            }
            self.unsent.push_back(request.holder);
        }
        true
    }

    /// Makes sure that this delivery's payload may go by a connection. If not, the attempt has failed.
    fn fits_a_connection(&mut self, handed: &Handed) -> bool {
        let attachment = self.attachments.get(handed.holder);
        let bytes_max = attachment.map_or(0, |attachment| attachment.link.body_bytes_max());
        let Some(envelope) = self.dispatcher.ledger.payload(handed.token) else {
            return false;
        };
        let bytes = envelope.body.len();
        if bytes > bytes_max {
            let lack = format!("it has {bytes} bytes, and a connection takes {bytes_max} at most");
            self.fail_undeliverable(handed.token, NoSharedMemory(lack));
        }
        bytes <= bytes_max
    }

    pub(super) fn refuse(&mut self, request: Request, refusal: Refusal) {
        let why = self.why(refusal).to_owned();
        self.send_answer(request, Answer::Refused { refusal, why });
    }

    fn send_answer(&mut self, request: Request, answer: Answer<Given<'_>>) {
        if let Some(attachment) = self.attachments.get_mut(request.holder) {
            attachment.link.answer(request.number, answer);
            self.unsent.push_back(request.holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dishrack_core::ledger::{Cause, Exit, Options};

    use super::*;
    use crate::broker::Broker;
    use crate::protocol::frame::RingRecord;
    use crate::protocol::ring_pair::RingPair;
    use crate::sys::descriptors::DescriptorSocket;

    /// Returns the answer to a worker's report of this cause.
    fn hear(cause: Cause) -> Result<(), PeerError> {
        hear_record(&Up::Settled {
            ordinal: 1,
            service_ns: 1,
            outcome: Outcome::failed(cause),
        })
    }

    fn hear_record(record: &Up<'_>) -> Result<(), PeerError> {
        let (ring_pair, _file) = RingPair::new().unwrap();
        let (socket, _theirs) = DescriptorSocket::pair().unwrap();
        let mut uplink = UplinkReader::new(ring_pair, Arc::new(socket));
        let mut bytes = vec![0; record.bytes_max()];
        let length = frame::encode(record, &mut bytes);
        let broker = Broker::new(Options::default());
        broker.with(|core| core.receive(HolderId::default(), &mut uplink, &bytes[..length]))
    }

    #[test]
    fn a_worker_that_acknowledges_a_run_that_cannot_be_is_ended() {
        let run = |first, last| {
            let service_ns = 1;
            hear_record(&Up::SettledRun {
                first,
                last,
                service_ns,
            })
        };
        let most = u64::from(RUN_ITEMS);
        assert!(run(2, 1).is_err() && run(1, most + 1).is_err() && run(0, u64::MAX).is_err());
        // What it does not hold changes nothing.
        run(1, most).unwrap();
        run(u64::MAX, u64::MAX).unwrap();
    }

    #[test]
    fn a_worker_that_says_what_only_its_supervisor_knows_is_ended() {
        for cause in [
            Cause::WorkerDied(Exit::Signaled(9)),
            Cause::Undeliverable("far".into()),
            Cause::TimedOut(Duration::MAX),
            Cause::Cancelled,
            Cause::LostTooOften(u64::MAX),
        ] {
            let why = hear(cause.clone()).unwrap_err().to_string();
            assert!(why.ends_with(&cause.to_string()), "{why}");
        }
        let exit = Exit::Exited(3);
        let complaint = "no words".to_owned();
        hear(Cause::CommandFailed { exit, complaint }).unwrap();
        hear(Cause::Nack("no".into())).unwrap();
    }
}
