//! A worker of this process, thread or task: takes its deliveries one after the other, and tells of
//! their ends. It does not know what runs a handler, nor how the worker sleeps.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::handler::stopwatch::StopWatch;
use crate::link::Job;
use crate::link::local::{LocalQueue, Telling};
use crate::payload::Payload;
use crate::sys::poll::{POLL, poll_for};
use dishrack_core::ledger::{HolderId, Outcome};

/// The time from which an item counts as long: the broker's lock costs little beside it.
const LONG: Duration = Duration::from_micros(5);

/// The number of stored acknowledgements that are worth the broker's lock before the worker runs out
/// of deliveries.
const EARLY: u64 = 16;

/// The time to wait for a caller that is just about to look at what was done. Two sides that take
/// turns need no lock on this one.
const GLANCE: Duration = Duration::from_micros(2);

/// The number of payloads that are dropped in one go. Their memory's counts are the producer's, too,
/// and go from one processor to the other each time.
const SPENT_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct LocalWorker {
    broker: Arc<Broker>,
    holder: HolderId,
    pub(super) queue: Arc<LocalQueue>,
    watch: StopWatch,
    /// The last delivery whose end was stored on the board.
    stored: u64,
    spent: Vec<Payload>,
}

impl LocalWorker {
    pub(super) fn new(broker: Arc<Broker>, holder: HolderId, queue: Arc<LocalQueue>) -> Self {
        LocalWorker {
            broker,
            holder,
            queue,
            watch: StopWatch::default(),
            stored: 0,
            spent: Vec::with_capacity(SPENT_MAX),
        }
    }

    /// Begins the next delivery that is there; those that were cancelled are not begun.
    pub(super) fn begin_next(&mut self) -> Option<Job> {
        while let Some(job) = self.queue.pop() {
            if self.broker.is_asked() && !self.broker.begin(job.token) {
                continue;
            }
            let at_ns = self.watch.begin();
            self.queue.board().begin(job.token.ordinal(), at_ns);
            return Some(job);
        }
        None
    }

    /// Ends the delivery that was begun.
    pub(super) fn end(&mut self, job: Job, outcome: Outcome<Payload>) {
        let left = self.queue.len() as u64;
        let is_stored =
            matches!(outcome, Outcome::Done(_)) && !job.is_awaited && !self.broker.is_asked();
        let service = self.watch.end(left == 0 || !is_stored);
        if is_stored {
            self.store(job.token.ordinal(), service, left);
        } else {
            // The token is stale if the item was cancelled meanwhile.
            let _ = self
                .broker
                .settle_local(self.holder, job.token, service, outcome);
            self.queue.note_settled();
            self.watch.stop();
        }
        if self.spent.len() == SPENT_MAX {
            self.spent.clear();
        }
        self.spent.push(job.body);
    }

    /// Acknowledges a delivery whose result nobody awaits.
    fn store(&mut self, ordinal: u64, service: Duration, left: u64) {
        let service_ns = u64::try_from(service.as_nanos()).unwrap_or(u64::MAX);
        self.queue.board().set_through(ordinal, service_ns);
        self.stored = ordinal;
        let unseen = ordinal.saturating_sub(self.queue.seen());
        let is_to_tell = match self.queue.telling() {
            Telling::AtOnce => true,
            Telling::Late => service >= LONG,
            Telling::Soon => service >= LONG || (unseen >= EARLY && unseen >= left && left > 0),
        };
        if is_to_tell {
            self.tell();
        }
    }

    /// Lets the broker see what was done, and gets more if there is more.
    fn tell(&mut self) {
        // It fails for the records of worker processes only.
        let _ = self.broker.drain(self.holder);
        self.watch.stop();
    }

    /// Prepares for a sleep: tells all that was done. Returns `true` if there is something to do
    /// instead.
    pub(super) fn come_to_rest(&mut self) -> bool {
        self.watch.stop();
        self.spent.clear();
        if self.stored > self.queue.seen() {
            self.tell();
        }
        self.queue.has_news()
    }

    /// Does the same, but looks for a little while first if a caller comes by, and after that if
    /// more comes.
    pub(super) fn poll_to_rest(&mut self) -> bool {
        let glance = match self.queue.telling() {
            _ if !self.queue.may_poll() || self.queue.is_more() => Duration::ZERO,
            Telling::AtOnce => Duration::ZERO,
            Telling::Soon => GLANCE,
            Telling::Late => POLL,
        };
        self.watch.stop();
        if !glance.is_zero() && poll_for(glance, || self.queue.has_news()) {
            return true;
        }
        self.come_to_rest() || (self.queue.may_poll() && poll_for(POLL, || self.queue.has_news()))
    }
}
