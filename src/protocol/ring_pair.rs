//! The memory that a supervisor shares with one worker process: rings, scoreboard and doorbells.
//!
//! Two sides that are both awake exchange items without a system call; the doorbells say when one
//! must be woken (see `doorbell`). No two workers share a ring pair, and it cannot block a side: it
//! contains no locks, and a side that dies leaves at worst a record that is never seen.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::doorbell::Doorbell;
use super::ring::{Ring, RingReader, RingWriter};
use super::scoreboard::Scoreboard;
use crate::sys::memory::{self, Mapping};

/// The size of the ring to the worker: twice what credit allows (see `ledger::Credit`), so that
/// answers and the lengths of records fit as well.
const DOWN_BYTES: usize = 256 * 1024;

/// The size of the ring from the worker. An item that is simply done needs no record in it.
const UP_BYTES: usize = 64 * 1024;

/// The offset of the rings, which begin at a page of their own.
const HEADER_BYTES: usize = 4096;

const RING_PAIR_BYTES: usize = HEADER_BYTES + DOWN_BYTES + UP_BYTES;

/// A word in a cache line of its own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct AtomicWord(AtomicU64);

#[derive(Debug, Default)]
#[repr(C)]
struct RingHeader {
    board: Scoreboard,
    down_head: AtomicWord,
    down_tail: AtomicWord,
    up_head: AtomicWord,
    up_tail: AtomicWord,
    /// Rung when there is something for the worker to read.
    down_doorbell: Doorbell,
    /// Rung when there is something for the supervisor to read.
    up_doorbell: Doorbell,
    /// Rung when the supervisor has room to write again.
    down_room: Doorbell,
    /// Rung when the worker has room to write again.
    up_room: Doorbell,
    /// Set when there are records that must not wait for their turn.
    urgent: Doorbell,
    /// The ordinal of the last delivery that was handed out.
    handed: AtomicWord,
    /// The last delivery whose end the supervisor has seen.
    seen: AtomicWord,
    /// 1 if the worker may poll a little before it sleeps.
    may_poll: AtomicWord,
}

/// The memory, mapped.
pub(crate) struct RingPair {
    /// Accessed by atomic operations only.
    memory: Mapping,
}

impl fmt::Debug for RingPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingPair")
            .field("header", self.header())
            .finish_non_exhaustive()
    }
}

impl RingPair {
    /// The length of the file that it lies in.
    pub(crate) const BYTES: usize = RING_PAIR_BYTES;

    /// Makes new memory, all zero, allocated on use. Returns it with its file for the worker.
    pub(crate) fn new() -> io::Result<(Arc<Self>, OwnedFd)> {
        let (memory, file) = memory::make_for_two(RING_PAIR_BYTES)?;
        let ring_pair = Arc::new(RingPair { memory });
        ring_pair.board().clear();
        // The supervisor sleeps until the new worker's first record.
        ring_pair.up_doorbell().want();
        Ok((ring_pair, file))
    }

    /// Maps the memory that the other side sent.
    ///
    /// # Errors
    /// It can be made shorter, is too short, or there is no room for it.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Arc<Self>> {
        let memory = memory::map_to_write(file, RING_PAIR_BYTES)?;
        Ok(Arc::new(RingPair { memory }))
    }

    fn header(&self) -> &RingHeader {
        // SAFETY: it is as long as a ring pair, page-aligned and never shorter, every word is
        // atomic, and the mapping lives as long as `self`.
        unsafe { &*self.memory.start().cast_const().cast() }
    }

    /// Returns a ring at an offset of the memory. The caller keeps the ring pair while it uses it.
    fn ring(&self, offset: usize, capacity: usize, head: &AtomicWord, tail: &AtomicWord) -> Ring {
        // SAFETY: the memory is as long as `RING_PAIR_BYTES`, of which the rings are disjoint
        // parts, and each is used by one writer and one reader: see the four methods below.
        unsafe {
            let words = self.memory.start().cast_const().byte_add(offset).cast();
            Ring::new(words, capacity, &raw const head.0, &raw const tail.0)
        }
    }

    fn down(&self) -> Ring {
        let header = self.header();
        self.ring(
            HEADER_BYTES,
            DOWN_BYTES,
            &header.down_head,
            &header.down_tail,
        )
    }

    fn up(&self) -> Ring {
        let header = self.header();
        let offset = HEADER_BYTES + DOWN_BYTES;
        self.ring(offset, UP_BYTES, &header.up_head, &header.up_tail)
    }

    /// Returns the supervisor's end of the ring to the worker.
    pub(crate) fn down_writer(&self) -> RingWriter {
        RingWriter::new(self.down())
    }

    /// Returns the worker's end of that ring.
    pub(crate) fn down_reader(&self) -> RingReader {
        RingReader::new(self.down())
    }

    /// Returns the worker's end of the ring to the supervisor.
    pub(crate) fn up_writer(&self) -> RingWriter {
        RingWriter::new(self.up())
    }

    /// Returns the supervisor's end of that ring.
    pub(crate) fn up_reader(&self) -> RingReader {
        RingReader::new(self.up())
    }

    pub(crate) fn down_published(&self) -> u64 {
        self.down().published()
    }

    pub(crate) fn up_published(&self) -> u64 {
        self.up().published()
    }

    pub(crate) fn board(&self) -> &Scoreboard {
        &self.header().board
    }

    /// Returns the doorbell that wakes the worker when there is something to read.
    pub(crate) fn down_doorbell(&self) -> &Doorbell {
        &self.header().down_doorbell
    }

    /// Returns the doorbell that wakes the supervisor when there is something to read.
    pub(crate) fn up_doorbell(&self) -> &Doorbell {
        &self.header().up_doorbell
    }

    /// Returns the doorbell that wakes the supervisor when the worker has made room.
    pub(crate) fn down_room(&self) -> &Doorbell {
        &self.header().down_room
    }

    /// Returns the doorbell that wakes the worker when the supervisor has made room.
    pub(crate) fn up_room(&self) -> &Doorbell {
        &self.header().up_room
    }

    /// Returns the doorbell for records that must not wait until the worker comes to them.
    pub(crate) fn urgent(&self) -> &Doorbell {
        &self.header().urgent
    }

    /// Tells the worker the last delivery's ordinal, and whether it may poll.
    pub(crate) fn set_handed(&self, ordinal: u64, may_poll: bool) {
        let header = self.header();
        header.handed.0.store(ordinal, Ordering::Relaxed);
        header
            .may_poll
            .0
            .store(u64::from(may_poll), Ordering::Relaxed);
    }

    /// Tells the worker the last acknowledgement that was seen.
    pub(crate) fn set_seen(&self, ordinal: u64) {
        self.header().seen.0.store(ordinal, Ordering::Relaxed);
    }

    pub(crate) fn seen(&self) -> u64 {
        self.header().seen.0.load(Ordering::Relaxed)
    }

    pub(crate) fn handed(&self) -> u64 {
        self.header().handed.0.load(Ordering::Relaxed)
    }

    pub(crate) fn may_poll(&self) -> bool {
        self.header().may_poll.0.load(Ordering::Relaxed) == 1
    }
}

const _: () = assert!(size_of::<RingHeader>() <= HEADER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_handles_see_the_same_memory() {
        let (ours, file) = RingPair::new().unwrap();
        assert!(ours.up_doorbell().take(), "the first word is waited for");
        let theirs = RingPair::of(file).unwrap();
        theirs.board().begin(7, 70);
        assert_eq!(ours.board().read().current, 7);
        let mut writer = ours.down_writer();
        assert!(writer.write(6, |space| {
            space.copy_from_slice(b"item-1");
            6
        }));
        assert!(writer.publish());
        let mut record = Vec::new();
        assert_eq!(theirs.down_reader().copy_next(&mut record), Ok(true));
        assert_eq!(record, b"item-1");
    }
}
