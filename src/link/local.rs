//! The state that a worker in this process shares with the broker: the deliveries that it has not
//! begun, and a scoreboard, as a worker process has.
//!
//! Deliveries are values and are not copied. An acknowledgement that nobody awaits is a store,
//! which the broker reads when it has a reason to. A worker tells it by itself, too: it takes the
//! broker's lock for many of them at once. It does so before it sleeps, so a sleeping worker has
//! nothing that is not seen; and while it works, whoever needs to hear of it sooner says so
//! ([`ReportTime`]). The module knows neither threads nor tasks, nor what a handler does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Link, LocalDelivery, Sleeper};
use crate::payload::Payload;
use crate::protocol::doorbell::Doorbell;
use crate::protocol::peer_error::PeerError;
use crate::protocol::scoreboard::Scoreboard;
use dishrack_core::ledger::{Handed, Token};

/// The time at which a worker that goes on working tells the broker what it has done.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportTime {
    /// After a long item, and when a good part of what it has is done.
    Soon,
    /// After a long item only: a caller looks at the scoreboard by itself.
    Late,
    /// After the item that it is at.
    AtOnce,
}

/// The deliveries that were not begun. Only the worker and the holder of the broker's lock use it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct WaitingDeliveries {
    jobs: Mutex<VecDeque<LocalDelivery>>,
    /// The number of them, to be read without the lock.
    len: AtomicUsize,
}

/// Words that only the holder of the broker's lock stores.
#[derive(Debug, Default)]
#[repr(align(64))]
struct BrokerWords {
    /// The last acknowledgement that was seen.
    seen: AtomicU64,
    /// The number of a [`ReportTime`].
    telling: AtomicU8,
    may_poll: AtomicBool,
    /// The number of items that waited when this worker was last given some.
    left_waiting: AtomicUsize,
    is_stopping: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct LocalQueue {
    waiting: WaitingDeliveries,
    board: Scoreboard,
    /// The number of deliveries that the worker settled by the broker's lock.
    settled: AtomicU64,
    words: BrokerWords,
    /// Rung when there is something for the worker.
    doorbell: Doorbell,
}

impl LocalQueue {
    pub(crate) fn new() -> Arc<Self> {
        let queue = LocalQueue {
            waiting: WaitingDeliveries::default(),
            board: Scoreboard::default(),
            settled: AtomicU64::new(0),
            words: BrokerWords::default(),
            doorbell: Doorbell::default(),
        };
        queue.board.clear();
        Arc::new(queue)
    }

    pub(crate) fn board(&self) -> &Scoreboard {
        &self.board
    }

    pub(crate) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// Takes the next delivery, to be begun.
    pub(crate) fn pop(&self) -> Option<LocalDelivery> {
        if self.is_empty() {
            return None;
        }
        let mut jobs = self.waiting.jobs.lock();
        let job = jobs.pop_front();
        self.waiting.len.store(jobs.len(), Ordering::Release);
        job
    }

    /// Returns the number of deliveries that were not begun.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.words.is_stopping.load(Ordering::Acquire)
    }

    /// Returns `true` if the worker has a reason to look at its deliveries.
    pub(crate) fn has_news(&self) -> bool {
        !self.is_empty() || self.is_stopping()
    }

    pub(crate) fn may_poll(&self) -> bool {
        self.words.may_poll.load(Ordering::Relaxed)
    }

    /// Returns the number of items that waited when this worker was last given some.
    pub(crate) fn left_waiting(&self) -> usize {
        self.words.left_waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> u64 {
        self.words.seen.load(Ordering::Relaxed)
    }

    /// Returns when the worker is to tell what it has stored on the board.
    pub(crate) fn telling(&self) -> ReportTime {
        // Either this side sees what is asked of it, or the other one sees what this one stored
        // before. Paired with `ask_at_once`.
        fence(Ordering::SeqCst);
        self.asked()
    }

    fn asked(&self) -> ReportTime {
        let number = self.words.telling.load(Ordering::Relaxed);
        let all = [ReportTime::Soon, ReportTime::Late];
        let found = all.into_iter().find(|one| *one as u8 == number);
        found.unwrap_or(ReportTime::AtOnce)
    }

    fn tell(&self, telling: ReportTime) {
        self.words.telling.store(telling as u8, Ordering::Relaxed);
    }

    /// Says if the caller comes by again soon, and so hears late of what is done. A worker that was
    /// asked to tell at once does so all the same, because nobody may look again before it does.
    pub(crate) fn set_late(&self, is_late: bool) {
        if self.asked() != ReportTime::AtOnce {
            self.tell(match is_late {
                true => ReportTime::Late,
                false => ReportTime::Soon,
            });
        }
    }

    /// Asks the worker to tell at once. The caller must look at the board once more after this.
    pub(crate) fn ask_at_once(&self) {
        self.tell(ReportTime::AtOnce);
        fence(Ordering::SeqCst);
    }

    /// Notes that the worker has told, or was read.
    pub(crate) fn end_asking(&self) {
        if self.asked() == ReportTime::AtOnce {
            self.tell(ReportTime::Soon);
        }
    }

    pub(crate) fn set_left_waiting(&self, items: usize) {
        self.words.left_waiting.store(items, Ordering::Relaxed);
    }

    /// Counts a delivery that the worker settled otherwise than by the board.
    pub(crate) fn note_settled(&self) {
        let settled = self.settled.load(Ordering::Relaxed);
        self.settled.store(settled + 1, Ordering::Release);
    }

    /// Returns the place up to which the worker is; a caller that polls looks for another one.
    pub(crate) fn position(&self) -> (u64, u64) {
        let settled = self.settled.load(Ordering::Acquire);
        (self.board.through().0, settled)
    }
}

/// The broker's end of the deliveries. It says when the worker is to be woken.
#[derive(Debug)]
struct LocalLink {
    queue: Arc<LocalQueue>,
    batch: Vec<LocalDelivery>,
    handed: u64,
}

impl LocalLink {
    fn new(queue: Arc<LocalQueue>) -> Self {
        LocalLink {
            queue,
            batch: Vec::new(),
            handed: 0,
        }
    }

    fn push(&mut self, job: LocalDelivery) {
        self.handed = job.token.ordinal();
        self.batch.push(job);
    }

    /// Hands the batch over. Returns `true` if the worker must be woken now.
    fn flush(&mut self, may_poll: bool) -> bool {
        self.queue.words.may_poll.store(may_poll, Ordering::Relaxed);
        if self.batch.is_empty() {
            return false;
        }
        let waiting = &self.queue.waiting;
        let mut jobs = waiting.jobs.lock();
        jobs.extend(self.batch.drain(..));
        waiting.len.store(jobs.len(), Ordering::Release);
        drop(jobs);
        self.queue.doorbell.take()
    }

    /// Notes that the worker is to end. Returns `true` if it must be woken now.
    fn ask_to_stop(&mut self) -> bool {
        self.queue.words.is_stopping.store(true, Ordering::Release);
        self.queue.doorbell.take()
    }

    /// Takes all deliveries back that were not begun.
    fn recall(&mut self) -> Vec<Token> {
        let waiting = &self.queue.waiting;
        let mut jobs = waiting.jobs.lock();
        waiting.len.store(0, Ordering::Release);
        let jobs = jobs.drain(..).chain(self.batch.drain(..));
        jobs.map(|job| job.token).collect()
    }

    /// Takes one delivery back. Returns `false` if it was begun before.
    fn revoke(&mut self, handed: &Handed) -> bool {
        let is_it = |job: &LocalDelivery| job.token == handed.token;
        if let Some(at) = self.batch.iter().position(is_it) {
            self.batch.remove(at);
            return true;
        }
        let waiting = &self.queue.waiting;
        let mut jobs = waiting.jobs.lock();
        let place = jobs.iter().position(is_it);
        let is_there = place.and_then(|at| jobs.remove(at)).is_some();
        waiting.len.store(jobs.len(), Ordering::Release);
        is_there
    }
}

/// The way to reach a worker beside its queue.
pub(crate) trait Signal: Send + fmt::Debug {
    /// Returns the worker as one that sleeps.
    fn sleeper(&self) -> Arc<dyn Sleeper>;

    /// Says that a delivery was cancelled after it was begun.
    fn revoke_begun(&self, _token: Token) {}
}

/// The link to a worker of this process.
#[derive(Debug)]
pub(crate) struct SignalLink<S> {
    local: LocalLink,
    signal: S,
}

impl<S: Signal> SignalLink<S> {
    pub(super) fn new(queue: Arc<LocalQueue>, signal: S) -> Self {
        let local = LocalLink::new(queue);
        SignalLink { local, signal }
    }
}

impl<S: Signal> Link for SignalLink<S> {
    fn deliver(&mut self, handed: &Handed, payload: &Payload, is_awaited: bool) {
        self.local
            .push(LocalDelivery::new(handed, payload, is_awaited));
    }

    fn ask_to_stop(&mut self) {
        if self.local.ask_to_stop() {
            self.signal.sleeper().wake();
        }
    }

    fn revoke(&mut self, handed: &Handed) -> bool {
        let was_here = self.local.revoke(handed);
        if !was_here {
            self.signal.revoke_begun(handed.token);
        }
        was_here
    }

    fn recall(&mut self) -> Vec<Token> {
        self.local.recall()
    }

    fn flush(&mut self, may_poll: bool) -> Result<Option<Arc<dyn Sleeper>>, PeerError> {
        let is_asleep = self.local.flush(may_poll);
        Ok(is_asleep.then(|| self.signal.sleeper()))
    }

    fn handed(&self) -> u64 {
        self.local.handed
    }
}

/// The broker's place on a worker's board.
#[derive(Debug)]
pub(crate) struct LocalReader {
    pub(crate) queue: Arc<LocalQueue>,
    through: u64,
    served_ns: u64,
}

impl LocalReader {
    pub(crate) fn new(queue: Arc<LocalQueue>) -> Self {
        LocalReader {
            queue,
            through: 0,
            served_ns: 0,
        }
    }

    pub(crate) fn has_news(&self) -> bool {
        self.queue.board.through().0 != self.through
    }

    /// Returns the position up to which the board was read; any other one is news.
    pub(crate) fn position(&self) -> (u64, u64) {
        (self.through, self.queue.position().1)
    }

    /// Returns `true` if the worker has done a quarter or more of what it had at the last reading.
    pub(crate) fn is_worth_reading(&self, handed: u64) -> bool {
        let done = self.queue.board.through().0.saturating_sub(self.through);
        done > 0 && done >= handed.saturating_sub(self.through) / 4
    }

    /// Reads the board. If there is news, returns the ordinal of the delivery up to which the
    /// worker is through, and the time of those that it did not settle otherwise.
    pub(crate) fn advance(&mut self) -> Option<(u64, Duration)> {
        let (through, served_ns) = self.queue.board.through();
        through.checked_sub(self.through).filter(|news| *news > 0)?;
        let new_ns = served_ns.saturating_sub(self.served_ns);
        (self.through, self.served_ns) = (through, served_ns);
        self.queue.words.seen.store(through, Ordering::Relaxed);
        Some((through, Duration::from_nanos(new_ns)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payload;
    use dishrack_core::ledger::{HolderId, ItemId};

    fn handed(ordinal: u64) -> Handed {
        let holder = HolderId::default();
        Handed {
            holder,
            token: Token::of(holder, ordinal),
            ordinal,
            id: ItemId(ordinal),
            attempt: 1,
            copy: 1,
            of: 1,
            slot: 0,
        }
    }

    fn deliver(link: &mut LocalLink, ordinals: impl IntoIterator<Item = u64>) {
        for ordinal in ordinals {
            link.push(LocalDelivery::new(
                &handed(ordinal),
                &Payload::default(),
                false,
            ));
        }
    }

    fn next(queue: &LocalQueue) -> Option<u64> {
        queue.pop().map(|job| job.token.ordinal())
    }

    #[test]
    fn what_is_taken_back_is_not_begun_and_what_is_begun_is_not_taken_back() {
        let queue = LocalQueue::new();
        let mut link = LocalLink::new(Arc::clone(&queue));
        deliver(&mut link, 1..=4);
        assert!(queue.is_empty(), "a batch is handed over as a whole");
        link.flush(true);
        assert_eq!(next(&queue), Some(1));
        assert!(!link.revoke(&handed(1)));
        assert!(link.revoke(&handed(3)));
        deliver(&mut link, [5, 6]);
        assert!(link.revoke(&handed(5)), "not handed over yet");
        assert_eq!(next(&queue), Some(2));
        let back = link.recall();
        let ordinals: Vec<u64> = back.into_iter().map(Token::ordinal).collect();
        assert_eq!(ordinals, [4, 6]);
        assert_eq!(next(&queue), None);
        deliver(&mut link, [7]);
        link.flush(true);
        assert_eq!((next(&queue), next(&queue)), (Some(7), None));
    }

    #[test]
    fn a_sleeper_is_woken_once_for_a_batch_and_for_a_stop() {
        let queue = LocalQueue::new();
        let mut link = LocalLink::new(Arc::clone(&queue));
        deliver(&mut link, 1..=2);
        assert!(!link.flush(true), "nobody sleeps");
        queue.doorbell().want();
        assert!(!link.flush(true), "there is nothing new");
        deliver(&mut link, 3..=4);
        assert!(link.flush(true));
        deliver(&mut link, [5]);
        assert!(!link.flush(true));
        queue.doorbell().want();
        assert!(link.ask_to_stop() && queue.is_stopping());
    }

    #[test]
    fn the_board_is_read_once_for_each_piece_of_news() {
        let queue = LocalQueue::new();
        let mut reader = LocalReader::new(Arc::clone(&queue));
        assert_eq!(reader.advance(), None);
        queue.board().set_through(1, 100);
        queue.board().set_through(3, 200);
        assert!(reader.has_news() && reader.is_worth_reading(10));
        assert!(!reader.is_worth_reading(100));
        assert_eq!(reader.advance(), Some((3, Duration::from_nanos(300))));
        assert_eq!((reader.advance(), queue.seen()), (None, 3));
    }

    #[test]
    fn every_job_is_taken_by_one_side_only() {
        const JOBS: u64 = 20_000;
        let queue = LocalQueue::new();
        let mut link = LocalLink::new(Arc::clone(&queue));
        let taken = std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut taken = Vec::new();
                loop {
                    match next(&queue) {
                        Some(ordinal) => taken.push(ordinal),
                        None if queue.is_stopping() => break taken,
                        None => {
                            let ticket = queue.doorbell().want();
                            if !queue.has_news() {
                                queue.doorbell().sleep(ticket, None);
                            }
                        }
                    }
                }
            });
            let mut taken = Vec::new();
            for first in (1..=JOBS).step_by(10) {
                deliver(&mut link, first..first + 10);
                if link.flush(true) {
                    queue.doorbell().wake();
                }
                if first % 3 == 0 {
                    taken.extend(link.recall().into_iter().map(Token::ordinal));
                }
            }
            if link.ask_to_stop() {
                queue.doorbell().wake();
            }
            let by_worker = worker.join().unwrap();
            assert!(by_worker.is_sorted());
            taken.extend(by_worker);
            taken
        });
        let mut taken = taken;
        taken.sort_unstable();
        assert!(taken.into_iter().eq(1..=JOBS));
    }
}
