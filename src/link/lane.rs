//! The memory that a supervisor shares with one worker process: a ring each way, the scoreboard,
//! and who is to be woken.
//!
//! Two sides that are both awake exchange items without a system call; who is to be woken, bells
//! say (see `bell`). No two workers share a lane, and nothing in it can stop anybody: nobody holds
//! anything in it, and a side that dies leaves at worst a record that nobody sees.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipc_channel::ipc::IpcSharedMemory;
use nix::sys::mman::{MmapAdvise, madvise};

use super::bell::Bell;
use super::ring::{Reader, Ring, Writer};
use super::scoreboard::Scoreboard;

/// The ring to the worker: twice what credit allows (see `ledger::Credit`), so that answers and
/// records' lengths have room besides.
const DOWN_BYTES: usize = 256 * 1024;

/// The ring from the worker. What is simply done needs no record in it.
const UP_BYTES: usize = 64 * 1024;

/// The rings begin at a page of their own.
const HEADER_BYTES: usize = 4096;

const LANE_BYTES: usize = HEADER_BYTES + DOWN_BYTES + UP_BYTES;

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
    down_bell: Bell,
    /// The supervisor does.
    up_bell: Bell,
    /// The supervisor waits for room to write.
    down_room: Bell,
    /// The worker does.
    up_room: Bell,
    /// There are records that must not wait for their turn.
    urgent: Bell,
    /// The last delivery that was handed out, by its ordinal.
    handed: Word,
    /// The last delivery whose end the supervisor has seen.
    seen: Word,
    /// Whether the worker may poll a little before it sleeps.
    may_poll: Word,
}

/// The memory, mapped.
pub(crate) struct Lane {
    /// Keeps the mapping alive; `header` points into it.
    memory: IpcSharedMemory,
    header: *const Header,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("header", self.header())
            .finish_non_exhaustive()
    }
}

// SAFETY: `header` points into the mapping that `memory` owns and is only used for atomic access.
unsafe impl Send for Lane {}
// SAFETY: as above: all access is atomic.
unsafe impl Sync for Lane {}

impl Lane {
    /// New memory, all zero. `None` where the system gives none.
    pub(crate) fn new() -> Option<Arc<Self>> {
        let memory = std::panic::catch_unwind(|| IpcSharedMemory::from_byte(0, LANE_BYTES)).ok()?;
        let lane = Lane::of(memory)?;
        lane.give_back_pages();
        // The first word of a new worker is waited for.
        lane.up_bell().want();
        Some(lane)
    }

    /// The memory that the other side sent. `None` if it is too small.
    pub(crate) fn of(mut memory: IpcSharedMemory) -> Option<Arc<Self>> {
        if memory.len() < LANE_BYTES {
            return None;
        }
        // SAFETY: the mutable borrow is used only to get a pointer that may be written through;
        // the two processes that map the memory access it by the rules of this module.
        let header = unsafe { memory.deref_mut() }
            .as_mut_ptr()
            .cast_const()
            .cast();
        Some(Arc::new(Lane { memory, header }))
    }

    /// ipc-channel has written zeros to every page, so each takes memory. A lane that is little used
    /// shall not: its pages are taken back and are zero again when they are first used.
    fn give_back_pages(&self) {
        if let Some(start) = std::ptr::NonNull::new(self.header.cast_mut().cast()) {
            // SAFETY: the range is the mapping of this lane, which nobody uses yet. It fails where
            // the kernel does not do it, and then the memory stays taken.
            let _ = unsafe { madvise(start, LANE_BYTES, MmapAdvise::MADV_REMOVE) };
        }
    }

    /// A second handle to send to the worker. `None` where the system gives none.
    pub(crate) fn to_send(&self) -> Option<IpcSharedMemory> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.memory.clone())).ok()
    }

    fn header(&self) -> &Header {
        // SAFETY: `of` checked the size, a mapping is page-aligned, every word is atomic, and the
        // mapping lives as long as `self`.
        unsafe { &*self.header }
    }

    /// A ring at an offset of the memory. The caller keeps the lane for as long as he uses it.
    fn ring(&self, offset: usize, capacity: usize, head: &Word, tail: &Word) -> Ring {
        // SAFETY: the memory is as long as `LANE_BYTES`, of which the rings are disjoint parts, and
        // each is used by one writer and one reader: see the four methods below.
        unsafe {
            let words = self.header.byte_add(offset).cast();
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
    pub(crate) fn down_bell(&self) -> &Bell {
        &self.header().down_bell
    }

    /// The supervisor is.
    pub(crate) fn up_bell(&self) -> &Bell {
        &self.header().up_bell
    }

    /// The supervisor is to be woken when the worker has made room.
    pub(crate) fn down_room(&self) -> &Bell {
        &self.header().down_room
    }

    /// The worker is when the supervisor has.
    pub(crate) fn up_room(&self) -> &Bell {
        &self.header().up_room
    }

    /// There is something that must not wait until the worker comes to it.
    pub(crate) fn urgent(&self) -> &Bell {
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
        let ours = Lane::new().unwrap();
        assert!(ours.up_bell().take(), "the first word is waited for");
        let theirs = Lane::of(ours.to_send().unwrap()).unwrap();
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
