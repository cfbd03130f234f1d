//! Puts many items on a stream at once: it is told of them together, and their answers are awaited
//! together.

use std::collections::VecDeque;

use super::super::monitor::CoreGuard;
use super::{Broker, Core, Deadline, Envelope, ON_THE_WAY_MAX};
use crate::broker::answer::{Accepted, PutAnswer, PutTicket};
use crate::error::Kind;
use dishrack_core::shared::Putter;

impl Broker {
    /// Puts items on their way to the stream, and adds a ticket for the answer to each.
    pub(in crate::broker) fn send_many(
        &self,
        batch: &mut VecDeque<Envelope>,
        is_holding: bool,
        unanswered: &mut VecDeque<PutTicket>,
    ) {
        let mut core = self.lock();
        for envelope in batch.drain(..) {
            unanswered.push_back(core.push_checked(envelope, Putter::Local, is_holding));
        }
        core.pump();
    }

    /// Waits until the stream has accepted or refused all of these but the last `but`.
    pub(crate) fn await_answers(
        &self,
        unanswered: &mut VecDeque<PutTicket>,
        but: usize,
        is_holding: bool,
        answers: &mut Vec<PutAnswer>,
    ) {
        if unanswered.len() <= but {
            return;
        }
        let mut core = self.lock();
        while unanswered.len() > but
            && let Some(ticket) = unanswered.pop_front()
        {
            answers.push(match ticket {
                Err(kind) => PutAnswer::Refused((), kind),
                Ok(ticket) => loop {
                    match core.end_of_put(ticket) {
                        Some(Ok(id)) => {
                            let (first, last) = (id, id);
                            break PutAnswer::Accepted(Accepted { first, last });
                        }
                        Some(Err(kind)) => break PutAnswer::Refused((), kind),
                        None => core = self.work_or_await(core, Deadline::Forever, is_holding),
                    }
                },
            });
        }
    }

    /// Puts items on their way to the stream. Waits while too many are on their way.
    pub(in crate::broker) fn send_many_unsynced(
        &self,
        batch: &mut VecDeque<Envelope>,
        is_holding: bool,
        answers: &mut Vec<PutAnswer>,
    ) {
        let mut core = self.lock();
        let mut sent = 0;
        while let Some(envelope) = batch.pop_front() {
            if core.on_the_way() >= ON_THE_WAY_MAX && !is_holding {
                core.pump();
                core = self.await_way(core);
            }
            let may_put = core.check_open().and_then(|()| core.check_lost());
            let pushed =
                may_put.and_then(|()| core.push_checked(envelope, Putter::Nobody, is_holding));
            match pushed {
                Ok(_) => sent += 1,
                Err(kind) => {
                    answers.push(PutAnswer::Sent(std::mem::take(&mut sent)));
                    answers.push(PutAnswer::Refused((), kind));
                }
            }
        }
        answers.push(PutAnswer::Sent(sent));
        core.pump();
    }

    /// Waits until fewer items are on their way to the stream, or the queue is closed.
    pub(super) fn await_way<'a>(&'a self, mut core: CoreGuard<'a>) -> CoreGuard<'a> {
        while core.on_the_way() >= ON_THE_WAY_MAX && core.check_open().is_ok() {
            core = self.work_or_await(core, Deadline::Forever, false);
        }
        core
    }
}

impl Core {
    /// Puts an item on its way to the stream, if it is allowed there. Returns its ticket.
    fn push_checked(
        &mut self,
        envelope: Envelope,
        putter: Putter,
        is_beyond_bound: bool,
    ) -> Result<u64, Kind> {
        self.check_size(envelope.body.len())?;
        self.check_open()?;
        Ok(self.push(envelope, putter, is_beyond_bound, false))
    }
}
