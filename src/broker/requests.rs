//! What worker processes send: verdicts on their deliveries, and requests to their queue.
//!
//! A worker may put items on the queue it works for, get from it and join it. Each request is
//! answered exactly once; the worker keeps the time, and cancels a request that takes too long.

use std::sync::Arc;
use std::time::Duration;

use super::Ending;
use super::core::{Core, Parcel};
use super::desk::{Reply, Request};
use crate::error::Kind;
use crate::fail;
use crate::ledger::{Cause, HolderId, Token};
use crate::link::frame::{Answer, Ask, Body, Packet, Up, Verdict, Wait};

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
                Up::Cancel { request: number } => self.desk.cancel(Request { holder, number }),
                Up::HasBegun { ordinal } => self.revoked(holder, ordinal),
                Up::Worn => self.worn(holder),
                Up::Read { frames } => {
                    if let Some(seat) = self.seats.get_mut(holder) {
                        seat.link.has_read(frames);
                        self.unsent.push_back(holder);
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
        if !self
            .desk
            .is_heard(holder, token, verdict == Verdict::Returned)
        {
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
        // Heard above: the token is not stale.
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
        let waits = |wait| wait == Wait::UntilCancelled;
        match ask {
            Ask::Put { wait, body } => {
                let parcel = Parcel::of(bytes_of(packet, body)?);
                match self.check_size(&parcel) {
                    Ok(()) => self.desk.ask_put(request, parcel, waits(wait)),
                    Err(kind) => drop(self.send_answer(request, answer_of(kind))),
                }
            }
            Ask::Get { wait } => self.desk.ask_get(request, waits(wait)),
            Ask::Join { wait } => self.desk.ask_join(request, waits(wait)),
            Ask::State => {
                let ledger = &self.desk.ledger;
                let state = Answer::State {
                    len: ledger.len() as u64,
                    is_full: !ledger.has_room(),
                    is_closed: ledger.is_closed(),
                };
                // Only items can be too large to be sent.
                let _ = self.send_answer(request, state);
            }
            Ask::Close => {
                self.close();
                let _ = self.send_answer(request, Answer::Closed);
            }
        }
        Ok(())
    }

    /// Carries out what the desk decided on a request.
    pub(super) fn reply(&mut self, request: Request, reply: Reply) {
        let answer = match reply {
            Reply::Accepted(id) => Answer::Accepted(id),
            Reply::Empty => Answer::Empty,
            Reply::Joined(done, dead) => Answer::Joined { done, dead },
            Reply::TimedOut(unfinished) => Answer::TimedOut { unfinished },
            Reply::WaitsForItself => Answer::JoinWaitsForItself,
            Reply::Refused(refused) => answer_of(self.kind_of(refused)),
            Reply::Item(handed) => {
                let parcel = self.desk.ledger.payload(handed.token);
                let body = parcel.map(|parcel| Arc::clone(&parcel.body));
                let item = Answer::Item {
                    token: handed.token,
                    ordinal: handed.ordinal,
                    id: handed.id,
                    attempt: handed.attempt,
                    body: Body::Inline(body.as_deref().unwrap_or_default()),
                };
                if let Err(why) = self.send_answer(request, item) {
                    self.fail_undeliverable(handed.token, why);
                    self.desk.ask_get(request, true);
                }
                return;
            }
        };
        // Only items can be too large to be sent.
        let _ = self.send_answer(request, answer);
    }

    fn send_answer(&mut self, request: Request, answer: Answer<'_>) -> Result<(), String> {
        if let Some(seat) = self.seats.get_mut(request.holder) {
            seat.link.answer(request.number, answer)?;
            self.unsent.push_back(request.holder);
        }
        Ok(())
    }
}

/// What callers in this process get as an error, for those in another one.
fn answer_of(kind: Kind) -> Answer<'static> {
    match kind {
        Kind::Closed => Answer::Closed,
        Kind::Journal(why) => Answer::JournalFailed { why },
        Kind::NoWorkersLeft { why, unfinished } => Answer::NoWorkersLeft { why, unfinished },
        Kind::TooLarge { bytes, bytes_max } => Answer::TooLarge {
            bytes: bytes as u64,
            bytes_max: bytes_max as u64,
        },
        _ => Answer::Full,
    }
}

fn bytes_of<'a>(packet: &'a Packet, body: Body<'a>) -> Result<&'a [u8], String> {
    packet
        .bytes(body)
        .ok_or_else(|| "sent a record without its shared memory".into())
}
