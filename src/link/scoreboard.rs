//! One page shared by the supervisor and one worker process: which delivery has started.
//!
//! The worker stores one number when it starts an item; the supervisor reads it when the worker is
//! dead. That tells the item that a crash is charged to from those only prefetched, at the cost of
//! one store per item (Apache's scoreboard). Nothing else may live here, and no two workers share
//! a page.

use std::sync::atomic::{AtomicU64, Ordering};

use ipc_channel::ipc::IpcSharedMemory;

use crate::ledger::Started;

/// Four words are used; the kernel shares whole pages.
const PAGE_BYTES: usize = 4096;

/// In this order: the delivery that is worked on, the last one that `get` took, when work on the
/// first began (nanoseconds of the monotonic clock), and the last one that was ever begun.
type Words = [AtomicU64; 4];

/// The page, mapped.
#[derive(Debug)]
pub(crate) struct Scoreboard {
    /// Keeps the mapping alive; `words` points into it.
    page: IpcSharedMemory,
    words: *const Words,
}

// SAFETY: `words` points into the mapping that `page` owns and is only used for atomic access.
unsafe impl Send for Scoreboard {}
// SAFETY: as above: all access is atomic.
unsafe impl Sync for Scoreboard {}

impl Scoreboard {
    /// A new page, all zero. `None` where the system gives no shared memory.
    pub(crate) fn new() -> Option<Self> {
        let page = std::panic::catch_unwind(|| IpcSharedMemory::from_byte(0, PAGE_BYTES)).ok()?;
        Scoreboard::of(page)
    }

    /// The page that the other side sent. `None` if it is too small.
    pub(crate) fn of(mut page: IpcSharedMemory) -> Option<Self> {
        if page.len() < size_of::<Words>() {
            return None;
        }
        // SAFETY: the mutable borrow is used only to get a pointer that may be written through;
        // the two processes that map the page both access it by atomic operations alone.
        let words = unsafe { page.deref_mut() }.as_mut_ptr().cast_const().cast();
        Some(Scoreboard { page, words })
    }

    /// A second handle to send to the worker.
    pub(crate) fn to_send(&self) -> IpcSharedMemory {
        self.page.clone()
    }

    fn words(&self) -> &Words {
        // SAFETY: `of` checked the size, a mapping is page-aligned, and it lives as long as `self`.
        unsafe { &*self.words }
    }

    /// Work on this delivery began at this time of the monotonic clock.
    pub(crate) fn begin(&self, ordinal: u64, at_ns: u64) {
        let [current, _, since, begun] = self.words();
        // In this order: whoever sees the new delivery must not see the old time.
        since.store(at_ns, Ordering::Release);
        current.store(ordinal, Ordering::Release);
        begun.fetch_max(ordinal, Ordering::Release);
    }

    /// Nothing is worked on.
    pub(crate) fn rest(&self) {
        self.words()[0].store(0, Ordering::Release);
    }

    /// `get` took this delivery.
    pub(crate) fn set_taken(&self, ordinal: u64) {
        self.words()[1].fetch_max(ordinal, Ordering::Release);
    }

    /// Since when the delivery is worked on that [`read`](Self::read) tells, on the monotonic
    /// clock, and the last one that was ever begun or taken.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let [_, taken, since, begun] = self.words();
        let last = begun.load(Ordering::Acquire);
        let last = last.max(taken.load(Ordering::Acquire));
        (since.load(Ordering::Acquire), last)
    }

    /// What the worker had started.
    pub(crate) fn read(&self) -> Started {
        Started {
            current: self.words()[0].load(Ordering::Acquire),
            taken: self.words()[1].load(Ordering::Acquire),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_handles_see_the_same_page() {
        let ours = Scoreboard::new().unwrap();
        let theirs = Scoreboard::of(ours.to_send()).unwrap();
        theirs.begin(7, 70);
        theirs.set_taken(3);
        theirs.set_taken(2);
        assert_eq!(
            ours.read(),
            Started {
                current: 7,
                taken: 3
            }
        );
        assert_eq!(ours.progress(), (70, 7));
        theirs.rest();
        assert_eq!(ours.read().current, 0);
    }
}
