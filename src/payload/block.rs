//! Memory of the heap in which small payloads lie side by side.
//!
//! A payload costs a reference count instead of an allocation, and sixteen bytes for its handle
//! instead of the 32 of a general buffer. A block lives as long as one of its payloads. It has one
//! writer, which writes behind the bytes that were given away; those never change.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;

use super::Slice;

/// The size of a usual block, in bytes.
const BLOCK_BYTES: usize = 32 * 1024;

/// The rest of a block, in bytes, below which no payload is begun in it.
const REST_BYTES_MIN: usize = 256;

/// The memory. Only its slices know which part is initialised. Its place is in another cache line
/// than the count of its references, which the writer changes with every payload while others read.
#[repr(align(64))]
pub(super) struct Block(Box<[UnsafeCell<MaybeUninit<u8>>]>);

// SAFETY: a block has one writer, which writes only where there is no slice.
unsafe impl Sync for Block {}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes)", self.0.len())
    }
}

impl Block {
    fn new(bytes: usize) -> Arc<Self> {
        let memory = Box::<[UnsafeCell<MaybeUninit<u8>>]>::new_uninit_slice(bytes);
        // SAFETY: cells of `MaybeUninit` need no initialisation.
        Arc::new(Block(unsafe { memory.assume_init() }))
    }

    fn start(&self) -> *mut u8 {
        UnsafeCell::raw_get(self.0.as_ptr()).cast()
    }

    pub(super) fn bytes(&self, start: u32, length: u32) -> &[u8] {
        // SAFETY: only `BlockWriter::cut` makes slices, of bytes within the memory that it has
        // written and will not write again.
        unsafe { std::slice::from_raw_parts(self.start().add(start as usize), length as usize) }
    }
}

/// Writes payloads into blocks, one after the other.
#[derive(Debug)]
pub(super) struct BlockWriter {
    block: Arc<Block>,
    /// The beginning of the payload that is being written; below, its end so far.
    start: usize,
    end: usize,
}

impl BlockWriter {
    pub(super) fn new() -> Self {
        Self::with_capacity(BLOCK_BYTES)
    }

    pub(super) fn with_capacity(bytes: usize) -> Self {
        BlockWriter {
            block: Block::new(bytes),
            start: 0,
            end: 0,
        }
    }

    /// Drops what was written since the last cut.
    pub(super) fn discard(&mut self) {
        self.end = self.start;
        if self.block.0.len() - self.end < REST_BYTES_MIN {
            *self = Self::new();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Returns what was written since the last cut.
    pub(super) fn written(&self) -> &[u8] {
        // SAFETY: within the memory, and written by `extend`.
        unsafe { std::slice::from_raw_parts(self.block.start().add(self.start), self.len()) }
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        if self.block.0.len() - self.end < bytes.len() {
            self.move_on(bytes.len());
        }
        // SAFETY: there is room, no slice is there, and the writer's own memory is not the source.
        unsafe {
            let place = self.block.start().add(self.end);
            place.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.end += bytes.len();
    }

    /// Moves to another block that has room for that many more bytes.
    #[cold]
    fn move_on(&mut self, more: usize) {
        let needed = 2 * (self.len() + more);
        let mut next = Self::with_capacity(needed.max(BLOCK_BYTES));
        next.extend(self.written());
        *self = next;
    }

    /// Returns what was written since the last cut as a slice; `None` if it is too long.
    pub(super) fn cut(&mut self) -> Option<Slice> {
        let slice = Slice {
            block: Arc::clone(&self.block),
            start: u32::try_from(self.start).ok()?,
            length: u32::try_from(self.len()).ok()?,
        };
        self.start = self.end;
        Some(slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_keep_what_was_written() {
        proptest::proptest!(|(items: Vec<Vec<u8>>)| {
            let mut writer = BlockWriter::with_capacity(100);
            let mut slices = Vec::new();
            for item in &items {
                writer.discard();
                item.chunks(7).for_each(|bytes| writer.extend(bytes));
                proptest::prop_assert_eq!(writer.written(), item);
                slices.push(writer.cut().unwrap());
            }
            for (slice, item) in slices.iter().zip(&items) {
                proptest::prop_assert_eq!(&**slice, item);
            }
        });
    }

    #[test]
    fn what_is_discarded_leaves_no_trace() {
        let mut writer = BlockWriter::new();
        writer.extend(b"half an it");
        writer.discard();
        writer.extend(b"item");
        assert_eq!(&*writer.cut().unwrap(), b"item");
    }
}
