//! What a worker process says of its deliveries by plain stores into shared memory: which one it is
//! at, and up to which one it is through.
//!
//! The supervisor reads it at any time, and when the worker is dead. That tells the item that a
//! crash is charged to from those only prefetched (Apache's scoreboard), and acknowledges items at
//! the price of a store each: a word that is stored is there, however the worker ends. Nothing else
//! may live here, and no two workers share a board.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::Started;

/// Words that only the worker writes, in a cache line of their own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Scoreboard {
    /// The delivery that is worked on.
    current: AtomicU64,
    /// The last one that `get` took.
    taken: AtomicU64,
    /// When work on the current one began: nanoseconds of the monotonic clock.
    since: AtomicU64,
    /// The last one that was ever begun.
    begun: AtomicU64,
    /// All up to this one are settled: by a record, or they are done.
    through: AtomicU64,
    /// How long the worker has worked on all that it is through with, in nanoseconds.
    served_ns: AtomicU64,
}

impl Scoreboard {
    /// Work on this delivery began at this time of the monotonic clock.
    pub(crate) fn begin(&self, ordinal: u64, at_ns: u64) {
        // In this order: whoever sees the new delivery must not see the old time.
        self.since.store(at_ns, Ordering::Release);
        self.current.store(ordinal, Ordering::Release);
        raise(&self.begun, ordinal);
    }

    /// Nothing is worked on.
    pub(crate) fn rest(&self) {
        self.current.store(0, Ordering::Release);
    }

    /// `get` took this delivery.
    pub(crate) fn set_taken(&self, ordinal: u64) {
        self.taken.fetch_max(ordinal, Ordering::Release);
    }

    /// The worker is through with this delivery and all before it, and worked on it for so long.
    /// Said by one thread only.
    pub(crate) fn set_through(&self, ordinal: u64, service_ns: u64) {
        let served_ns = self.served_ns.load(Ordering::Relaxed);
        let served_ns = served_ns.wrapping_add(service_ns);
        self.served_ns.store(served_ns, Ordering::Relaxed);
        // After every record that settled one of them otherwise.
        self.through.store(ordinal, Ordering::Release);
    }

    /// Up to which delivery the worker is through, and how long it has worked in all.
    pub(crate) fn through(&self) -> (u64, u64) {
        let through = self.through.load(Ordering::Acquire);
        (through, self.served_ns.load(Ordering::Relaxed))
    }

    /// Since when the delivery is worked on that [`read`](Self::read) tells, on the monotonic
    /// clock, and the last one that was ever begun or taken.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let last = self.begun.load(Ordering::Acquire);
        let last = last.max(self.taken.load(Ordering::Acquire));
        (self.since.load(Ordering::Acquire), last)
    }

    /// What the worker had started.
    pub(crate) fn read(&self) -> Started {
        Started {
            current: self.current.load(Ordering::Acquire),
            taken: self.taken.load(Ordering::Acquire),
        }
    }
}

/// Raises a word. Those who do so at once raise it by turns, under a lock of theirs, or are one.
fn raise(word: &AtomicU64, value: u64) {
    if word.load(Ordering::Relaxed) < value {
        word.store(value, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_what_was_begun_taken_and_done() {
        let board = Scoreboard::default();
        board.begin(7, 70);
        board.set_taken(3);
        board.set_taken(2);
        let (current, taken) = (7, 3);
        assert_eq!(board.read(), Started { current, taken });
        assert_eq!(board.progress(), (70, 7));
        board.set_through(6, 40);
        board.set_through(7, 2);
        assert_eq!(board.through(), (7, 42));
        board.rest();
        assert_eq!(board.read().current, 0);
        assert_eq!(board.progress().1, 7);
    }
}
