//! The publisher: tells the stream what happened here, puts what is to be put, and looks how it stands.
//!
//! One thing at a time, each for all that came meanwhile, so that many ends and puts share one call.
//! It sleeps while there is nothing to tell.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::super::Envelope;
use super::super::core::Core;
use super::Post;
use crate::fail;
use crate::store::stream::{Answered, Exchange, Put, StreamState};
use dishrack_core::ledger::ItemId;
use dishrack_core::shared::inflight::{PublisherStep, Telling};

/// A wait that is to end is ended again after this: the word may have come before it began.
const AGAIN: Duration = Duration::from_millis(20);

/// What is to be done next.
enum Call {
    Reserve(u64),
    /// The ledger's write of this number, and puts.
    Tell(u64, Exchange),
    Look(u64),
}

/// The publisher's thread.
pub(super) fn run(post: &Post, calls: &Receiver<()>) {
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
pub(super) fn tell_all(post: &Post) {
    while let Some(call) = post.with(Core::next_call) {
        let done = match call {
            Call::Reserve(count) => {
                let first = post.stream.reserve(count);
                first.map(|first| post.with(|core| core.reserved(first, count)))
            }
            Call::Tell(number, exchange) => {
                fail::point("exchange: begin");
                let answered = post.stream.exchange(&exchange);
                fail::point("exchange: durable, not told");
                answered.and_then(|mut answered| {
                    let failure = answered.failure.take();
                    post.with(|core| core.exchanged(number, &exchange, answered));
                    failure.map_or(Ok(()), Err)
                })
            }
            Call::Look(question) => post.stream.look().map(|(stream_state, others)| {
                post.with(|core| core.looked(question, stream_state, others));
            }),
        };
        if let Err(why) = done {
            post.break_off(why);
            return;
        }
    }
}

impl Core {
    fn next_call(&mut self) -> Option<Call> {
        Some(match self.dispatcher.next_step()? {
            PublisherStep::Reserve(count) => Call::Reserve(count),
            PublisherStep::Look(question) => Call::Look(question),
            PublisherStep::Tell(telling) => Call::Tell(telling.number, self.exchange(telling)),
        })
    }

    /// What the dispatcher has told, and what only we know.
    fn exchange(&mut self, telling: Telling<Envelope>) -> Exchange {
        let puts = telling.puts.into_iter().filter_map(|one| {
            Some(Put {
                id: one.id?,
                reply: self.ticket_of(one.payload.reply()),
                body: one.payload.body,
                is_beyond_bound: one.is_beyond_bound,
            })
        });
        let puts = puts.collect();
        Exchange {
            records: telling.records,
            sent: std::mem::take(&mut self.traffic.sent),
            retries: telling.retries,
            puts,
        }
    }

    fn reserved(&mut self, first: Result<ItemId, String>, count: u64) {
        self.dispatcher.reserved(first, count);
        self.doorbells.durable.notify_all();
    }

    fn exchanged(&mut self, number: u64, exchange: &Exchange, answered: Answered) {
        // Whatever is told again gets another one.
        let again = exchange.puts.iter().skip(answered.admitted);
        for ticket in again.filter_map(|put| put.reply) {
            self.traffic.replies.remove(&ticket);
        }
        self.dispatcher.told(number, &exchange.records, answered);
        if self.syncers > 0 {
            self.doorbells.durable.notify_all();
        }
    }

    fn looked(&mut self, question: u64, stream_state: StreamState, others: u64) {
        self.dispatcher.looked(question, stream_state, others);
        self.doorbells.settled.notify_all();
        self.doorbells.durable.notify_all();
        // Others may be gone, for whom maps without workers of their own have waited.
        for mailbox in self.mailboxes.values() {
            mailbox.arrived.notify_all();
        }
    }
}
