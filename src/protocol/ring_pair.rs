//! The memory that a supervisor shares with one worker process: a ring each way, the scoreboard,
//! and who is to be woken.
//!
//! Two sides that are both awake exchange items without a system call; who is to be woken, doorbells
//! say (see `doorbell`). No two workers share a ring pair, and nothing in it can stop anybody: nobody holds
//! anything in it, and a side that dies leaves at worst a record that nobody sees.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::doorbell::Doorbell;
use super::ring::{Reader, Ring, Writer};
use super::scoreboard::Scoreboard;
use crate::sys::memory::{self, Mapping};

/// The ring to the worker: twice what credit allows (see `ledger::Credit`), so that answers and
/// records' lengths have room besides.
const DOWN_BYTES: usize = 256 * 1024;

/// The ring from the worker. What is simply done needs no record in it.
const UP_BYTES: usize = 64 * 1024;

/// The rings begin at a page of their own.
const HEADER_BYTES: usize = 4096;

const RING_PAIR_BYTES: usize = HEADER_BYTES + DOWN_BYTES + UP_BYTES;

/// A word in a cache line of its own.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Word(AtomicU64);

#[derive(Debug, Default)]
#[repr(C)]
struct Header {
    board: Scoreboard,
    down_head: Word,
    down_tail: Word,
    up_head: Word,
    up_tail: Word,
    /// The worker waits for something to read.
    down_doorbell: Doorbell,
    /// The supervisor does.
    up_doorbell: Doorbell,
    /// The supervisor waits for room to write.
    down_room: Doorbell,
    /// The worker does.
    up_room: Doorbell,
    /// There are records that must not wait for their turn.
    urgent: Doorbell,
    /// The last delivery that was handed out, by its ordinal.
    handed: Word,
    /// The last delivery whose end the supervisor has seen.
    seen: Word,
    /// Whether the worker may poll a little before it sleeps.
    may_poll: Word,
}

/// The memory, mapped.
pub(crate) struct RingPair {
    /// All access is atomic.
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
    /// How long the file is that it lies in.
    pub(crate) const BYTES: usize = RING_PAIR_BYTES;

    /// New memory, all zero, whose pages are there when they are used. With the file that gives it
    /// to the worker.
    pub(crate) fn new() -> io::Result<(Arc<Self>, OwnedFd)> {
        let (memory, file) = memory::make_for_two(RING_PAIR_BYTES)?;
        let ring_pair = Arc::new(RingPair { memory });
        ring_pair.board().clear();
        // The first word of a new worker is waited for.
        ring_pair.up_doorbell().want();
        Ok((ring_pair, file))
    }

    /// The memory that the other side sent.
    ///
    /// # Errors
    /// It can be cut short, is too short, or there is no room for it.
    pub(crate) fn of(file: impl AsFd) -> io::Result<Arc<Self>> {
        let memory = memory::map_to_write(file, RING_PAIR_BYTES)?;
        Ok(Arc::new(RingPair { memory }))
    }

    fn header(&self) -> &Header {
        // SAFETY: it is as long as a ring pair, page-aligned and never shorter, every word is atomic, and
        // the mapping lives as long as `self`.
        unsafe { &*self.memory.start().cast_const().cast() }
    }

    /// A ring at an offset of the memory. The caller keeps the ring pair for as long as he uses it.
    fn ring(&self, offset: usize, capacity: usize, head: &Word, tail: &Word) -> Ring {
        // SAFETY: the memory is as long as `RING_PAIR_BYTES`, of which the rings are disjoint parts, and
        // each is used by one writer and one reader: see the four methods below.
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

    /// The supervisor's end of the ring to the worker.
    pub(crate) fn down_writer(&self) -> Writer {
        Writer::new(self.down())
    }

    /// The worker's end of it.
    pub(crate) fn down_reader(&self) -> Reader {
        Reader::new(self.down())
    }

    /// The worker's end of the ring to the supervisor.
    pub(crate) fn up_writer(&self) -> Writer {
        Writer::new(self.up())
    }

    /// The supervisor's end of it.
    pub(crate) fn up_reader(&self) -> Reader {
        Reader::new(self.up())
    }

    /// Up to where the ring to the worker is written.
    pub(crate) fn down_published(&self) -> u64 {
        self.down().published()
    }

    /// Up to where the ring from the worker is written.
    pub(crate) fn up_published(&self) -> u64 {
        self.up().published()
    }

    pub(crate) fn board(&self) -> &Scoreboard {
        &self.header().board
    }

    /// The worker is to be woken when there is something to read.
    pub(crate) fn down_doorbell(&self) -> &Doorbell {
        &self.header().down_doorbell
    }

    /// The supervisor is.
    pub(crate) fn up_doorbell(&self) -> &Doorbell {
        &self.header().up_doorbell
    }

    /// The supervisor is to be woken when the worker has made room.
    pub(crate) fn down_room(&self) -> &Doorbell {
        &self.header().down_room
    }

    /// The worker is when the supervisor has.
    pub(crate) fn up_room(&self) -> &Doorbell {
        &self.header().up_room
    }

    /// There is something that must not wait until the worker comes to it.
    pub(crate) fn urgent(&self) -> &Doorbell {
        &self.header().urgent
    }

    /// Tells the worker how far deliveries go, and whether it may poll.
    pub(crate) fn set_handed(&self, ordinal: u64, may_poll: bool) {
        let header = self.header();
        header.handed.0.store(ordinal, Ordering::Relaxed);
        header
            .may_poll
            .0
            .store(u64::from(may_poll), Ordering::Relaxed);
    }

    /// Tells the worker what was seen of its acknowledgements.
    pub(crate) fn set_seen(&self, ordinal: u64) {
        self.header().seen.0.store(ordinal, Ordering::Relaxed);
    }

    /// The last delivery whose end the supervisor has seen.
    pub(crate) fn seen(&self) -> u64 {
        self.header().seen.0.load(Ordering::Relaxed)
    }

    /// The last delivery that was handed out, by its ordinal.
    pub(crate) fn handed(&self) -> u64 {
        self.header().handed.0.load(Ordering::Relaxed)
    }

    /// Whether the worker may poll a little before it sleeps.
    pub(crate) fn may_poll(&self) -> bool {
        self.header().may_poll.0.load(Ordering::Relaxed) == 1
    }
}

const _: () = assert!(size_of::<Header>() <= HEADER_BYTES);

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
