//! The fetcher: takes the items that are wanted here from the stream, renews the lease on them, and
//! takes over what others left behind.
//!
//! It takes no more than workers and callers of `get` would have at once, so that other supervisors
//! get their share, and sleeps in the stream's own wait when there is nothing.

use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::super::core::Core;
use super::super::monitor::{sleep, with_guard};
use super::super::{Deadline, Envelope};
use super::StreamContext;
use crate::fail;
use crate::store::stream::{Arrival, Maintained};
use dishrack_core::dispatcher::inflight::{self, FetcherCall, FetcherStep};
use dishrack_core::ledger::ItemId;

pub(super) fn run(post: &StreamContext, begun: &Sender<()>) {
    let every = post.stream.maintain_every();
    let mut has_begun = false;
    let mut due = Instant::now() + every;
    loop {
        let Some(call) = next_call(post, due) else {
            return;
        };
        if !std::mem::replace(&mut has_begun, true) {
            match post.stream.begin() {
                Ok(steering) => post.with(|core| core.dispatcher.handle_steering(steering)),
                Err(why) => return post.break_off(why),
            }
            // It is known to others from now on.
            let _ = begun.try_send(());
        }
        let done = match call {
            // There is a pause, which was not known yet.
            FetcherCall::Take { question, .. } if post.with(|core| core.is_paused()) => {
                post.with(|core| core.took(Vec::new(), question));
                Ok(())
            }
            FetcherCall::Maintain(count) => {
                let maintained = post.stream.maintain(count);
                fail::point("exchange: leases renewed");
                due = Instant::now() + every;
                maintained.map(|maintained| {
                    let surplus = post.with(|core| core.maintained(maintained));
                    if !surplus.is_empty() {
                        give_back(post, &surplus);
                    }
                })
            }
            FetcherCall::GiveBack(ids) => {
                give_back(post, &ids);
                Ok(())
            }
            FetcherCall::Take {
                count,
                waits,
                question,
            } => {
                let wait = match waits {
                    true => due.saturating_duration_since(Instant::now()),
                    false => Duration::ZERO,
                };
                let taken = post.stream.take(count, wait);
                fail::point("exchange: taken, not held");
                taken.map(|arrivals| post.with(|core| core.took(arrivals, question)))
            }
        };
        if let Err(why) = done {
            return post.break_off(why);
        }
    }
}

/// Sleeps until there is something to do; `None` at the end.
fn next_call(post: &StreamContext, due: Instant) -> Option<FetcherCall> {
    let mut core = post.monitor.lock();
    loop {
        if core.traffic.is_leaving || core.dispatcher.ledger.is_broken() {
            return None;
        }
        let is_due = Instant::now() >= due;
        match with_guard(&mut core, |core| core.dispatcher.fetcher_step(is_due)) {
            FetcherStep::Call(call) => return Some(call),
            FetcherStep::Nobody => {
                core.wake_getters();
                with_guard(&mut core, |_| ());
            }
            FetcherStep::Sleep { renews } => {
                let deadline = match renews {
                    true => Deadline::Until(due),
                    false => Deadline::Forever,
                };
                core = sleep(&post.monitor.doorbells.fetcher, core, deadline).0;
            }
        }
    }
}

/// Gives back items that are not wanted here and are no longer in the ledger.
fn give_back(post: &StreamContext, surplus: &[ItemId]) {
    // Items that cannot be given back are taken over when their lease ends.
    let _ = post.stream.release(surplus);
}

impl Core {
    fn took(&mut self, arrivals: Vec<Arrival>, question: u64) {
        let (arrivals, now) = (self.envelopes(arrivals), self.emitter.now_unix());
        self.note_arrivals(&arrivals);
        if self.dispatcher.took(arrivals, question, now) {
            self.wake_getters();
        }
    }

    fn wake_getters(&mut self) {
        self.doorbells.items.notify_all();
        self.wakers.values().for_each(std::task::Waker::wake_by_ref);
    }

    fn maintained(&mut self, maintained: Maintained) -> Vec<ItemId> {
        let now = self.emitter.now_unix();
        let maintained = maintained.map_arrivals(|arrivals| self.envelopes(arrivals));
        let cancelled = maintained.cancelled.clone();
        self.forget_waits(&maintained.lost);
        self.note_arrivals(&maintained.arrivals);
        let surplus = self.dispatcher.maintained(maintained, now);
        self.forget_waits(&surplus);
        for id in cancelled {
            // Its end may be on its way already, and counts then.
            self.cancel(id);
        }
        surplus
    }

    fn is_paused(&self) -> bool {
        self.dispatcher.ledger.is_paused()
    }

    fn envelopes(&self, arrivals: Vec<Arrival>) -> Vec<inflight::Arrival<Envelope>> {
        let wants_results = self.traffic.wants_results;
        let envelope = |arrival: Arrival| {
            let is_sent = arrival.is_awaited || wants_results;
            arrival.map_payload(|body| Envelope::of_stream(body, is_sent))
        };
        arrivals.into_iter().map(envelope).collect()
    }
}
