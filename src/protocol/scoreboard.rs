//! What a worker process says of its deliveries by plain stores into shared memory: which one it is
//! at, and up to which one it is through.
//!
//! The supervisor reads it at any time, and when the worker is dead. That tells the item that a
//! crash is charged to from those only prefetched (Apache's scoreboard), and acknowledges items at
//! the price of a store each: a word that is stored is there, however the worker ends. Nothing else
//! may live here, and no two workers share a board.
//!
//! What runs in the worker can write here, too. So an ordinal stands with a check of itself in one word:
//! what something else has left there is no ordinal.

use std::sync::atomic::{AtomicU64, Ordering};

use dishrack_core::ledger::{LastWords, Started};

/// An ordinal has so many bits; what is above them is its check.
const ORDINAL_BITS: u32 = 48;

/// An ordinal with its check. Memory of which all bytes are 0 is none.
fn sealed(ordinal: u64) -> u64 {
    // The high bits of a product with 2^64 divided by the golden ratio depend on all bits.
    let check = ordinal.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> ORDINAL_BITS;
    ordinal & ((1 << ORDINAL_BITS) - 1) | check << ORDINAL_BITS
}

/// The ordinal in a word, if it is one.
fn opened(word: u64) -> Option<u64> {
    let ordinal = word & ((1 << ORDINAL_BITS) - 1);
    (sealed(ordinal) == word).then_some(ordinal)
}

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
    /// Nothing was begun. Said by the supervisor, before there is a worker.
    pub(crate) fn clear(&self) {
        for word in [&self.current, &self.taken, &self.begun, &self.through] {
            word.store(sealed(0), Ordering::Relaxed);
        }
    }

    /// Work on this delivery began at this time of the monotonic clock.
    pub(crate) fn begin(&self, ordinal: u64, at_ns: u64) {
        // In this order: whoever sees the new delivery must not see the old time.
        self.since.store(at_ns, Ordering::Release);
        self.current.store(sealed(ordinal), Ordering::Release);
        raise(&self.begun, ordinal);
    }

    /// Nothing is worked on.
    pub(crate) fn rest(&self) {
        self.current.store(sealed(0), Ordering::Release);
    }

    /// `get` took this delivery.
    pub(crate) fn set_taken(&self, ordinal: u64) {
        let higher = |word| (opened(word) < Some(ordinal)).then(|| sealed(ordinal));
        // It fails where another thread has taken a later one.
        let _ = self
            .taken
            .fetch_update(Ordering::Release, Ordering::Relaxed, higher);
    }

    /// The worker is through with this delivery and all before it, and worked on it for so long.
    /// Said by one thread only.
    pub(crate) fn set_through(&self, ordinal: u64, service_ns: u64) {
        let served_ns = self.served_ns.load(Ordering::Relaxed);
        let served_ns = served_ns.wrapping_add(service_ns);
        self.served_ns.store(served_ns, Ordering::Relaxed);
        // After every record that settled one of them otherwise.
        self.through.store(sealed(ordinal), Ordering::Release);
    }

    /// Whether the worker's word that it is at this delivery still stands there. What has written over
    /// it has written over more, most likely.
    pub(crate) fn is_at(&self, ordinal: u64) -> bool {
        self.current.load(Ordering::Relaxed) == sealed(ordinal)
    }

    /// Says again what a handler's worker knows that is at this delivery and no further.
    pub(crate) fn restore(&self, ordinal: u64) {
        self.current.store(sealed(ordinal), Ordering::Relaxed);
        self.begun.store(sealed(ordinal), Ordering::Relaxed);
        if opened(self.taken.load(Ordering::Relaxed)).is_none() {
            self.taken.store(sealed(0), Ordering::Relaxed);
        }
        let before = sealed(ordinal.saturating_sub(1));
        self.through.store(before, Ordering::Release);
    }

    /// Up to which delivery the worker is through, higher than any if that cannot be read, and how long
    /// it has worked in all.
    pub(crate) fn through(&self) -> (u64, u64) {
        let through = opened(self.through.load(Ordering::Acquire)).unwrap_or(u64::MAX);
        (through, self.served_ns.load(Ordering::Relaxed))
    }

    /// The last delivery that a handler has ever begun: never before what it was through with when
    /// that was read.
    pub(crate) fn begun(&self) -> u64 {
        ordinal_in(&self.begun)
    }

    /// Since when the delivery is worked on that [`read`](Self::read) tells, on the monotonic
    /// clock, and the last one that was ever begun or taken.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let last = self.begun().max(ordinal_in(&self.taken));
        (self.since.load(Ordering::Acquire), last)
    }

    /// What the worker says at its end.
    pub(crate) fn last_words(&self) -> LastWords {
        LastWords {
            started: self.read(),
            begun: self.begun(),
            is_garbled: [&self.current, &self.taken, &self.begun, &self.through]
                .iter()
                .any(|word| opened(word.load(Ordering::Acquire)).is_none()),
        }
    }

    /// What the worker had started.
    pub(crate) fn read(&self) -> Started {
        Started {
            current: ordinal_in(&self.current),
            taken: ordinal_in(&self.taken),
        }
    }
}

/// Raises a word. Those who do so at once raise it by turns, under a lock of theirs, or are one.
fn raise(word: &AtomicU64, value: u64) {
    if opened(word.load(Ordering::Relaxed)) < Some(value) {
        word.store(sealed(value), Ordering::Release);
    }
}

/// What is no ordinal says nothing.
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
        board.restore(4);
        let words = board.last_words();
        assert!(board.is_at(4) && !words.is_garbled);
        board.rest();
        assert!(
            !board.last_words().is_garbled,
            "to do nothing is no nonsense"
        );
        board.taken.store(1, Ordering::Relaxed);
        board.restore(4);
        assert!(!board.last_words().is_garbled);
        assert_eq!((words.begun, board.through().0), (4, 3));
    }

    #[test]
    fn it_tells_what_was_begun_taken_and_done() {
        let board = Scoreboard::default();
        board.clear();
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
