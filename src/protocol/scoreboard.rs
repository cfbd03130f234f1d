//! The state of a worker's deliveries, written by plain stores into shared memory: the one that it
//! is at, and the one up to which it is through.
//!
//! The supervisor reads it at any time, also after the worker's death. It tells the item that a
//! crash is charged to from those only prefetched (Apache's scoreboard), and it acknowledges an
//! item at the price of a store: a stored word stays, however the worker ends. Nothing else may
//! live here, and no two workers share a board.
//!
//! Code that runs in the worker can write here, too. So each word holds an ordinal with its check,
//! and a word that other code has overwritten is recognised as none.

use std::sync::atomic::{AtomicU64, Ordering};

use dishrack_core::ledger::{LastWords, Started};

/// The number of bits of an ordinal; its check is above them.
const ORDINAL_BITS: u32 = 48;

/// Packs an ordinal with its check. A word of which all bytes are 0 is not valid.
fn sealed(ordinal: u64) -> u64 {
    // The high bits of a product with 2^64 divided by the golden ratio depend on all bits.
    let check = ordinal.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> ORDINAL_BITS;
    ordinal & ((1 << ORDINAL_BITS) - 1) | check << ORDINAL_BITS
}

/// Returns the ordinal in a word, if the word is valid.
fn opened(word: u64) -> Option<u64> {
    let ordinal = word & ((1 << ORDINAL_BITS) - 1);
    (sealed(ordinal) == word).then_some(ordinal)
}

/// Words that only the worker writes, in a cache line of their own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Scoreboard {
    /// The delivery that is worked on; the oldest one of a loop that is at several.
    current: AtomicU64,
    /// The beginning of work on the current one, in nanoseconds of the monotonic clock.
    since: AtomicU64,
    /// The last delivery that was ever begun. They are begun in their order.
    begun: AtomicU64,
    /// The delivery up to which all are settled, by a record or by being done.
    through: AtomicU64,
    /// The time spent on all deliveries that the worker is through with, in nanoseconds.
    served_ns: AtomicU64,
}

impl Scoreboard {
    /// Notes that nothing was begun. The supervisor calls this before there is a worker.
    pub(crate) fn clear(&self) {
        for word in [&self.current, &self.begun, &self.through] {
            word.store(sealed(0), Ordering::Relaxed);
        }
    }

    /// Notes that work on this delivery began at this time of the monotonic clock. Callers hold a
    /// common lock, or are a single thread.
    pub(crate) fn begin(&self, ordinal: u64, at_ns: u64) {
        self.raise_begun(ordinal);
        self.show(ordinal, at_ns);
    }

    /// Notes that work on this delivery, which is a later one than the current, began.
    pub(crate) fn raise_begun(&self, ordinal: u64) {
        if opened(self.begun.load(Ordering::Relaxed)) < Some(ordinal) {
            self.begun.store(sealed(ordinal), Ordering::Release);
        }
    }

    /// Makes a delivery the current one, which began at this time.
    pub(crate) fn show(&self, ordinal: u64, at_ns: u64) {
        // In this order, so that a reader which sees the new delivery does not see the old time.
        self.since.store(at_ns, Ordering::Release);
        self.current.store(sealed(ordinal), Ordering::Release);
    }

    /// Notes that nothing is worked on.
    pub(crate) fn rest(&self) {
        self.current.store(sealed(0), Ordering::Release);
    }

    /// Notes that the worker is through up to this delivery, and its time. Callers hold a common
    /// lock, or are a single thread.
    pub(crate) fn set_through(&self, ordinal: u64, service_ns: u64) {
        let served_ns = self.served_ns.load(Ordering::Relaxed);
        let served_ns = served_ns.wrapping_add(service_ns);
        self.served_ns.store(served_ns, Ordering::Relaxed);
        // After every record that settled one of them otherwise.
        self.through.store(sealed(ordinal), Ordering::Release);
    }

    /// Returns `true` if the board still says that the worker is at this delivery. Code that
    /// overwrote this word has most likely overwritten others, too.
    pub(crate) fn is_at(&self, ordinal: u64) -> bool {
        self.current.load(Ordering::Relaxed) == sealed(ordinal)
    }

    /// Writes again what a worker knows that is at this delivery, the oldest of those that it has not
    /// settled, and has begun no further than that one.
    pub(crate) fn restore(&self, current: u64, begun: u64) {
        self.current.store(sealed(current), Ordering::Relaxed);
        self.begun.store(sealed(begun), Ordering::Relaxed);
        let before = sealed(current.saturating_sub(1));
        self.through.store(before, Ordering::Release);
    }

    /// Returns the delivery up to which the worker is through, higher than any if the word is not
    /// valid, and the time that it has worked in all.
    pub(crate) fn through(&self) -> (u64, u64) {
        let through = opened(self.through.load(Ordering::Acquire)).unwrap_or(u64::MAX);
        (through, self.served_ns.load(Ordering::Relaxed))
    }

    /// Returns the last delivery that was ever begun. It is never before the one that an earlier [`through`](Self::through) returned.
    pub(crate) fn begun(&self) -> u64 {
        ordinal_in(&self.begun)
    }

    /// Returns the beginning of work on the delivery that [`read`](Self::read) returns, on the
    /// monotonic clock, and the last delivery that was ever begun.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let last = self.begun();
        (self.since.load(Ordering::Acquire), last)
    }

    /// Returns the board's content after the worker's death.
    pub(crate) fn last_words(&self) -> LastWords {
        LastWords {
            started: self.read(),
            is_garbled: [&self.current, &self.begun, &self.through]
                .iter()
                .any(|word| opened(word.load(Ordering::Acquire)).is_none()),
        }
    }

    /// Returns the deliveries that the worker had started.
    pub(crate) fn read(&self) -> Started {
        Started {
            current: ordinal_in(&self.current),
            begun: self.begun(),
        }
    }
}

/// Returns the ordinal in a word, or 0 if the word is not valid.
fn ordinal_in(word: &AtomicU64) -> u64 {
    opened(word.load(Ordering::Acquire)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ordinal_is_known_for_that() {
        for ordinal in [0, 1, 2, 1000, (1 << ORDINAL_BITS) - 1] {
            assert_eq!(opened(sealed(ordinal)), Some(ordinal));
        }
        let nonsense = (0..10_000).chain([u64::MAX, 0xa5a5_a5a5_a5a5_a5a5]);
        for word in nonsense {
            assert_eq!(opened(word), None);
        }
        let board = Scoreboard::default();
        board.clear();
        board.begin(1, 10);
        assert!(board.is_at(1) && !board.last_words().is_garbled);
        board.through.store(1, Ordering::Relaxed);
        assert!(board.last_words().is_garbled);
        assert_eq!(board.through().0, u64::MAX);
        board.set_through(1, 1);
        board.current.store(2, Ordering::Relaxed);
        assert!(!board.is_at(1) && board.last_words().is_garbled);
        board.restore(4, 5);
        let words = board.last_words();
        assert!(board.is_at(4) && !words.is_garbled);
        board.rest();
        assert!(
            !board.last_words().is_garbled,
            "to do nothing is no nonsense"
        );
        assert_eq!((words.started.begun, board.through().0), (5, 3));
    }

    #[test]
    fn it_tells_what_was_begun_and_done() {
        let board = Scoreboard::default();
        board.clear();
        board.begin(7, 70);
        board.raise_begun(9);
        board.raise_begun(8);
        let (current, begun) = (7, 9);
        assert_eq!(board.read(), Started { current, begun });
        assert_eq!(board.progress(), (70, 9));
        board.set_through(6, 40);
        board.set_through(7, 2);
        assert_eq!(board.through(), (7, 42));
        board.rest();
        assert_eq!(board.read().current, 0);
        assert_eq!(board.progress().1, 9);
    }
}
