//! A worker of this process, thread or task: takes its deliveries one after the other, and tells of
//! their ends. It does not know what runs a handler.

use std::sync::Arc;
use std::time::Duration;

use crate::broker::Broker;
use crate::fail;
use crate::handler::stopwatch::StopWatch;
use crate::link::LocalDelivery;
use crate::link::local::{LocalQueue, ReportTime};
use crate::payload::Payload;
use crate::sys::poll::{POLL, give_way, poll_for};
use dishrack_core::ledger::{HolderId, Outcome};

/// The time from which an item counts as long: the broker's lock costs little beside it.
const LONG: Duration = Duration::from_micros(5);

/// The number of stored acknowledgements that are worth the broker's lock before the worker runs
/// out of deliveries.
const EARLY: u64 = 16;

/// The time to poll for a caller that is just about to look at what was done. Two sides that take
/// turns need no lock on this one.
const SHORT_POLL: Duration = Duration::from_micros(2);

/// The longest time for which a worker sleeps with something untold while a caller comes by often.
/// It is woken when the caller comes, and nobody else waits.
const LINGER: Duration = Duration::from_millis(1);

/// The number of waiting items that are worth the lock even while a caller comes by often.
const MANY: usize = 256;

/// The number of payloads that are dropped in one go. Their memory's counts are the producer's,
/// too, and go from one processor to the other each time.
const SPENT_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct LocalWorker {
    broker: Arc<Broker>,
    holder: HolderId,
    pub(super) queue: Arc<LocalQueue>,
    watch: StopWatch,
    /// The last delivery whose end was stored on the board.
    stored: u64,
    /// True if the worker was woken for what it has done since it last rested.
    was_woken: bool,
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
            was_woken: false,
            spent: Vec::with_capacity(SPENT_MAX),
        }
    }

    /// Begins the next delivery that is there; those that were cancelled are not begun.
    pub(super) fn begin_next(&mut self) -> Option<LocalDelivery> {
        while let Some(job) = self.queue.pop() {
            if self.broker.is_asked() && !self.broker.begin(job.token) {
                continue;
            }
            let at_ns = self.watch.begin();
            self.queue.board().begin(job.token.ordinal(), at_ns);
            fail::point("thread: begun");
            return Some(job);
        }
        None
    }

    /// Ends the delivery that was begun.
    pub(super) fn end(&mut self, job: LocalDelivery, outcome: Outcome<Payload>) {
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
        fail::point("thread: stored");
        self.stored = ordinal;
        let unseen = ordinal.saturating_sub(self.queue.seen());
        let is_to_tell = match self.queue.telling() {
            ReportTime::AtOnce => true,
            ReportTime::Late => service >= LONG,
            ReportTime::Soon => service >= LONG || (unseen >= EARLY && unseen >= left && left > 0),
        };
        if is_to_tell {
            self.tell(false);
        }
    }

    /// Lets the broker see what was done, and gets more if there is more.
    fn tell(&mut self, is_alone: bool) {
        self.broker.hear(self.holder, is_alone);
        self.watch.stop();
    }

    /// Prepares for a sleep: tells all that was done. Returns `true` if there is something to do
    /// instead.
    pub(super) fn come_to_rest(&mut self) -> bool {
        self.watch.stop();
        self.spent.clear();
        if self.has_untold() {
            self.tell(true);
        }
        self.queue.has_news()
    }

    fn has_untold(&self) -> bool {
        self.stored > self.queue.seen()
    }

    /// Does the same for a thread, which first waits a little for a caller that comes by, and after
    /// that looks if more comes.
    pub(super) fn linger(&mut self) -> bool {
        self.watch.stop();
        if std::mem::take(&mut self.was_woken) {
            give_way();
        }
        let may_poll = self.queue.may_poll();
        if self.has_untold() {
            let waiting = self.queue.left_waiting();
            let comes = match (self.queue.telling(), may_poll) {
                (ReportTime::Soon, true) if waiting == 0 => {
                    poll_for(SHORT_POLL, || self.queue.has_news())
                }
                (ReportTime::Late, true) if waiting < MANY => {
                    poll_for(POLL, || self.queue.has_news())
                }
                (ReportTime::Late, false) if waiting < MANY => self.sleep(Some(LINGER)),
                (ReportTime::AtOnce | ReportTime::Soon | ReportTime::Late, _) => false,
            };
            if comes {
                return true;
            }
        }
        self.come_to_rest() || (may_poll && poll_for(POLL, || self.queue.has_news()))
    }

    /// Sleeps until there is something to do, or the time is over. Returns `true` if there is.
    pub(super) fn sleep(&mut self, time: Option<Duration>) -> bool {
        let ticket = self.queue.doorbell().want();
        if !self.queue.has_news() {
            self.queue.doorbell().sleep(ticket, time);
            self.was_woken = true;
        }
        self.queue.has_news()
    }
}
