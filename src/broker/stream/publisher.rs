//! The publisher: tells the stream how items ended, puts items, and asks for its state.
//!
//! It does one thing at a time, each for all that came meanwhile, so that many ends and puts share
//! one call. It sleeps while there is nothing to tell.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::super::Envelope;
use super::super::core::Core;
use super::StreamContext;
use crate::fail;
use crate::store::stream::{Admission, Answered, Ends, StreamPut, StreamState};
use dishrack_core::dispatcher::inflight::{PublisherStep, Telling, results_of};

/// The time after which it ends a wait again, because the signal may have come before the wait
/// began.
const AGAIN: Duration = Duration::from_millis(20);

enum PublisherCall {
    /// The ledger's write of this number.
    Settle(u64, Ends),
    /// Puts, and the time at which the stream is told of them.
    Put(Vec<StreamPut>, Duration),
    Refresh(u64),
}

pub(super) fn run(post: &StreamContext, calls: &Receiver<()>) {
    let mut interrupts = false;
    loop {
        let called = match interrupts {
            true => calls.recv_timeout(AGAIN),
            false => calls.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if called == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        tell_all(post);
        interrupts = post.with(|core| core.dispatcher.is_to_interrupt());
        if interrupts {
            post.stream.interrupt();
        }
    }
}

/// Tells until there is nothing left to tell.
pub(super) fn tell_all(post: &StreamContext) {
    while let Some(call) = post.with(Core::next_call) {
        let done = match call {
            PublisherCall::Settle(number, ends) => {
                fail::point("exchange: ends to be told");
                let answered = post.stream.settle(&ends);
                fail::point("exchange: ends durable, not told");
                answered.map(|answered| post.with(|core| core.settled(number, &ends, answered)))
            }
            PublisherCall::Put(puts, at) => {
                fail::point("exchange: puts to be told");
                let admission = post.stream.put(&puts);
                fail::point("exchange: puts durable, not told");
                admission.map(|admission| post.with(|core| core.admitted(&puts, at, admission)))
            }
            PublisherCall::Refresh(question) => {
                post.stream.refresh().map(|(stream_state, others)| {
                    post.with(|core| core.refreshed(question, stream_state, others));
                })
            }
        };
        if let Err(why) = done {
            post.break_off(why);
            return;
        }
    }
}

impl Core {
    fn next_call(&mut self) -> Option<PublisherCall> {
        Some(match self.dispatcher.next_step()? {
            PublisherStep::Settle(telling) => {
                PublisherCall::Settle(telling.number, self.ends(telling))
            }
            PublisherStep::Put(puts) => {
                let awaited = |put: &StreamPut| Some((put.ticket, put.payload.reply()?));
                self.traffic.replies.extend(puts.iter().filter_map(awaited));
                PublisherCall::Put(puts, self.emitter.now())
            }
            PublisherStep::Refresh(question) => PublisherCall::Refresh(question),
        })
    }

    /// Makes the ends of a telling, with the results that only the broker has.
    fn ends(&mut self, telling: Telling<Envelope>) -> Ends {
        let sent = std::mem::take(&mut self.traffic.sent);
        Ends {
            sent: results_of(&telling.records, sent),
            records: telling.records,
            retries: telling.retries,
        }
    }

    fn settled(&mut self, number: u64, ends: &Ends, answered: Answered) {
        self.dispatcher.settled(number, &ends.records, answered);
        self.has_told();
    }

    fn admitted(&mut self, puts: &[StreamPut], at: Duration, admission: Admission) {
        let numbers = admission.numbers(puts.iter().map(|put| put.is_beyond_bound));
        self.emitter
            .emit_puts(at, numbers.iter().copied().flatten());
        // Those of items that are told again come back with them.
        for (put, number) in puts.iter().zip(numbers) {
            if number.is_none() {
                self.traffic.replies.remove(&put.ticket);
            }
        }
        self.dispatcher.admitted(admission);
        self.has_told();
    }

    fn has_told(&self) {
        if self.syncers > 0 {
            self.doorbells.durable.notify_all();
        }
    }

    fn refreshed(&mut self, question: u64, stream_state: StreamState, others: u64) {
        self.dispatcher.refreshed(question, stream_state, others);
        self.doorbells.settled.notify_all();
        self.doorbells.durable.notify_all();
        // Other supervisors may have gone, and maps without workers of their own have waited for
        // them.
        self.mailboxes.notify_all();
    }
}
