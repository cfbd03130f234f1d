//! Shared memory for large payloads, in segments that are used again and again.
//!
//! Making shared memory costs system calls, a file descriptor and a page fault for each page. So
//! segments are large, payloads lie in them one behind the other, and a segment is reused when none
//! of its payloads is needed any more. A process makes its own segments, and only it can write to
//! them; others read. No cleaning up is needed, because memory goes with the last process that maps
//! it. The module knows no channels; the links know who has which segment.

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use parking_lot::Mutex;

use crate::error::NoSharedMemory;
use crate::sys::memory::{self, Mapping, PrivateMapping};

/// The size of a usual segment in bytes. A larger payload has one of its own.
pub(crate) const SEGMENT_BYTES: usize = 4 << 20;

/// The number of bytes in unneeded segments that are kept for reuse.
const IDLE_BYTES_MAX: usize = 64 << 20;

/// The alignment of payloads: a cache line.
const ALIGN: usize = 64;

/// A piece of shared memory that this process writes to.
pub(crate) struct Segment {
    pub(crate) number: u32,
    /// Only the one `PartWriter` that has some bytes writes them, before others can see them.
    memory: Mapping,
    file: OwnedFd,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("number", &self.number)
            .field("bytes", &self.len())
            .finish_non_exhaustive()
    }
}

impl Segment {
    fn new(number: u32, bytes: usize) -> Result<Self, NoSharedMemory> {
        let made = memory::make_for_readers(bytes);
        let (memory, file) = made.map_err(|error| lack(bytes, &error))?;
        Ok(Segment {
            number,
            memory,
            file,
        })
    }

    /// Returns the file that gives the memory to another process, to read.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn start(&self) -> *mut u8 {
        self.memory.start()
    }

    pub(crate) fn len(&self) -> usize {
        self.memory.len()
    }
}

fn lack(bytes: usize, why: &io::Error) -> NoSharedMemory {
    NoSharedMemory(format!(
        "no shared memory for {bytes} bytes ({why}): {}",
        memory::advice(why)
    ))
}

/// A payload's place in a segment. Its bytes stay as long as a handle of it exists.
#[derive(Debug, Clone)]
pub(crate) struct SegmentPart {
    pub(crate) segment: Arc<Segment>,
    start: u32,
    length: u32,
}

impl SegmentPart {
    /// Returns its offset in the segment.
    pub(crate) fn start(&self) -> usize {
        self.start as usize
    }
}

impl Deref for SegmentPart {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `PartWriter` kept these bytes within the segment and initialised them, and they
        // are not written again while a part of them exists.
        unsafe {
            std::slice::from_raw_parts(self.segment.start().add(self.start()), self.length as usize)
        }
    }
}

impl SegmentPart {
    /// Maps these of its bytes anew, for this process to write to what nobody else sees; `None` if
    /// that cannot be.
    pub(crate) fn to_private(&self, bytes: Range<usize>) -> Option<PrivateMapping> {
        let start = self.start();
        let bytes = start + bytes.start..start + bytes.end;
        PrivateMapping::map(self.segment.file(), bytes).ok()
    }

    pub(crate) fn copy_of(bytes: &[u8]) -> Result<Self, NoSharedMemory> {
        let writer = PartWriter::with_capacity(bytes.len())?;
        Ok(writer.with(bytes)?.finish())
    }
}

/// Writes one payload. No other code sees its bytes until it is finished.
pub(crate) struct PartWriter {
    segment: Arc<Segment>,
    start: usize,
    length: usize,
    capacity: usize,
}

impl PartWriter {
    pub(crate) fn with_capacity(capacity: usize) -> Result<Self, NoSharedMemory> {
        let (segment, start, capacity) = POOL.lock().reserve(capacity)?;
        Ok(PartWriter {
            segment,
            start,
            length: 0,
            capacity,
        })
    }

    /// Adds bytes; moves to more memory where these are too many.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> Result<(), NoSharedMemory> {
        if self.capacity - self.length < bytes.len() {
            let wanted = (self.length + bytes.len()).max(2 * self.capacity);
            let mut larger = PartWriter::with_capacity(wanted)?;
            larger.extend(self.written())?;
            *self = larger;
        }
        // SAFETY: the place is within the segment and was reserved for this writer alone, and the
        // source is not in the segment, so the two do not overlap.
        unsafe {
            let end = self.segment.start().add(self.start + self.length);
            end.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.length += bytes.len();
        Ok(())
    }

    pub(crate) fn with(mut self, bytes: &[u8]) -> Result<Self, NoSharedMemory> {
        self.extend(bytes)?;
        Ok(self)
    }

    pub(crate) fn written(&self) -> &[u8] {
        // SAFETY: within the segment, and written above.
        unsafe { std::slice::from_raw_parts(self.segment.start().add(self.start), self.length) }
    }

    /// Finishes the payload. Room that is left over is given back if it is the segment's last.
    pub(crate) fn finish(self) -> SegmentPart {
        POOL.lock().shrink(&self);
        SegmentPart {
            segment: self.segment,
            start: u32_of(self.start),
            length: u32_of(self.length),
        }
    }
}

/// Converts a length or an offset; segments are shorter than 4 GiB.
fn u32_of(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The segments that this process has made.
static POOL: Mutex<SegmentPool> = Mutex::new(SegmentPool {
    segments: Vec::new(),
    used: 0,
    made: 0,
});

struct SegmentPool {
    /// All segments; the last one is being filled.
    segments: Vec<Arc<Segment>>,
    /// The number of bytes filled in the last one.
    used: usize,
    made: u32,
}

impl SegmentPool {
    /// Reserves room for a payload. Returns its segment, its place, and the size of the room.
    fn reserve(&mut self, bytes: usize) -> Result<(Arc<Segment>, usize, usize), NoSharedMemory> {
        let wanted = bytes.max(1).next_multiple_of(ALIGN);
        if !self.has_room(wanted) {
            self.begin_another(wanted)?;
        }
        let segment = self.segments.last();
        let segment = segment.ok_or_else(|| NoSharedMemory("no segment".into()))?;
        let start = self.used;
        self.used += wanted;
        Ok((Arc::clone(segment), start, wanted))
    }

    fn shrink(&mut self, writer: &PartWriter) {
        let is_last = self
            .segments
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, &writer.segment));
        if is_last && writer.start + writer.capacity == self.used {
            self.used = writer.start + writer.length.next_multiple_of(ALIGN);
        }
    }

    fn has_room(&mut self, wanted: usize) -> bool {
        let Some(last) = self.segments.last() else {
            return false;
        };
        if is_idle(last) {
            self.used = 0;
        }
        last.len() - self.used >= wanted
    }

    /// Fills an unneeded segment, the one that was used last if there are several, or a new one.
    fn begin_another(&mut self, wanted: usize) -> Result<(), NoSharedMemory> {
        let found = self
            .segments
            .iter()
            .rposition(|segment| is_idle(segment) && segment.len() >= wanted);
        let segment = match found {
            Some(at) => self.segments.remove(at),
            None => {
                self.drop_idle();
                let bytes = wanted.next_multiple_of(4096).max(SEGMENT_BYTES);
                if u32::try_from(bytes).is_err() {
                    let why = format!("{bytes} bytes are too many at once");
                    return Err(NoSharedMemory(why));
                }
                let segment = Segment::new(self.made, bytes)?;
                self.made = self.made.wrapping_add(1);
                Arc::new(segment)
            }
        };
        self.segments.push(segment);
        self.used = 0;
        Ok(())
    }

    /// Drops the oldest of the unneeded segments, if there are too many.
    fn drop_idle(&mut self) {
        let mut idle_bytes = 0;
        self.segments.reverse();
        self.segments.retain(|segment| {
            if is_idle(segment) {
                idle_bytes += segment.len();
            }
            !is_idle(segment) || idle_bytes <= IDLE_BYTES_MAX
        });
        self.segments.reverse();
    }
}

/// Returns `true` if no part of it exists. Only the pool makes new parts, so it stays idle.
fn is_idle(segment: &Arc<Segment>) -> bool {
    let is_idle = Arc::strong_count(segment) == 1;
    // The thread that dropped the last part had finished with its bytes before.
    fence(Ordering::Acquire);
    is_idle
}
