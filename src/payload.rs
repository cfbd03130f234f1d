//! The serialized bytes of an item: written once, where they can stay until the item has its end.
//!
//! Small ones lie side by side in blocks of the heap, so that a million of them do not cost a
//! million allocations. Large ones that may travel to another process are written straight into
//! shared memory (see `segment`), so that they need no copy. A payload is cheap to clone and never
//! changes. The module knows neither items nor queues.

mod block;
pub(crate) mod envelope;
pub(crate) mod reason;
pub(crate) mod segment;

use std::any::type_name;
use std::cell::{Cell, RefCell};
use std::ops::{Deref, Range};
use std::sync::Arc;

use postcard::ser_flavors::Flavor;
use serde::Serialize;

use self::block::{Block, BlockWriter};
use self::segment::{PartWriter, SEGMENT_BYTES, SegmentPart};
use crate::error::NoSharedMemory;
use crate::sys::memory::PrivateMapping;

/// The greatest size in bytes of a payload that travels with others and not in shared memory.
pub(crate) const INLINE_BYTES_MAX: usize = 16 * 1024;

#[derive(Debug, Clone, Default)]
pub(crate) enum Payload {
    #[default]
    Empty,
    Heap(Slice),
    Shared(SegmentPart),
}

#[derive(Debug, Clone)]
pub(crate) struct Slice {
    block: Arc<Block>,
    start: u32,
    length: u32,
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.block.bytes(self.start, self.length)
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Payload::Empty => &[],
            Payload::Heap(slice) => slice,
            Payload::Shared(part) => part,
        }
    }
}

impl Payload {
    /// Copies these bytes into a payload that keeps no other memory alive.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut writer = BlockWriter::with_capacity(bytes.len());
        writer.extend(bytes);
        writer.cut().map_or(Payload::Empty, Payload::Heap)
    }

    /// Copies bytes from another process, into shared memory if they are large and may be sent on.
    pub(crate) fn received(bytes: &[u8], may_share: bool) -> Self {
        let is_large = bytes.len() > INLINE_BYTES_MAX;
        let part = (is_large && may_share).then(|| SegmentPart::copy_of(bytes).ok());
        match part.flatten() {
            Some(part) => Payload::Shared(part),
            None if is_large => Payload::copy_of(bytes),
            None => with_writer(|writer| {
                writer.extend(bytes);
                writer.cut().map_or(Payload::Empty, Payload::Heap)
            }),
        }
    }

    /// Copies a result that has come from another process. A very large one has shared memory of its
    /// own, which is used again and again, and may be mapped anew.
    pub(crate) fn of_result(bytes: &[u8]) -> Self {
        Self::received(bytes, bytes.len() >= SEGMENT_BYTES)
    }

    /// Returns the place of these bytes in it, if they are a part of it.
    pub(crate) fn place_of(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let start = bytes.as_ptr().addr().checked_sub(self.as_ptr().addr())?;
        let end = start.checked_add(bytes.len())?;
        (end <= self.len()).then_some(start..end)
    }

    /// Maps these of its bytes anew, for this process to write to what nobody else sees; `None` if
    /// that cannot be.
    pub(crate) fn to_private(&self, bytes: Range<usize>) -> Option<PrivateMapping> {
        match self {
            Payload::Shared(part) => part.to_private(bytes),
            Payload::Empty | Payload::Heap(_) => None,
        }
    }

    /// Returns `true` if it travels with others and not in shared memory.
    pub(crate) fn is_small(&self) -> bool {
        !matches!(self, Payload::Shared(_)) && self.len() <= INLINE_BYTES_MAX
    }

    /// Moves a large payload into shared memory, if it is not there yet.
    ///
    /// # Errors
    /// The reason for which there is no shared memory.
    #[inline]
    pub(crate) fn share(&mut self) -> Result<(), NoSharedMemory> {
        match self {
            Payload::Heap(bytes) if bytes.len() > INLINE_BYTES_MAX => self.move_to_segment(),
            Payload::Empty | Payload::Heap(_) | Payload::Shared(_) => Ok(()),
        }
    }

    #[cold]
    fn move_to_segment(&mut self) -> Result<(), NoSharedMemory> {
        *self = Payload::Shared(SegmentPart::copy_of(self)?);
        Ok(())
    }

    /// Returns the bytes alone, which keep no shared block or segment alive.
    pub(crate) fn to_stored(&self) -> Arc<[u8]> {
        Arc::from(&**self)
    }
}

/// The reason for which an item could not be serialized.
#[derive(Debug)]
pub(crate) enum NotSerialized {
    /// Its type refused.
    Refused {
        type_name: &'static str,
        why: String,
    },
    /// There is no shared memory for it.
    NoMemory(NoSharedMemory),
}

impl NotSerialized {
    fn refused<T: ?Sized>(error: &postcard::Error) -> Self {
        NotSerialized::Refused {
            type_name: type_name::<T>(),
            why: reason::take().unwrap_or_else(|| error.to_string()),
        }
    }

    pub(crate) fn why(self) -> String {
        match self {
            NotSerialized::Refused { why, .. } => why,
            NotSerialized::NoMemory(NoSharedMemory(why)) => why,
        }
    }
}

/// Serializes an item. If `may_share` is set, a large one is written into shared memory.
pub(crate) fn serialize<T: Serialize + ?Sized>(
    item: &T,
    may_share: bool,
) -> Result<Payload, NotSerialized> {
    with_writer(|writer| serialize_into(item, may_share, writer))
}

thread_local! {
    /// The number of bytes that the item which is being serialized will have, if it says so.
    static EXPECTED: Cell<usize> = const { Cell::new(0) };
}

/// Notes that the item which this thread serializes just now, or the part of it that follows, will
/// have about so many bytes: then it is written in one place at once.
pub(crate) fn expect_bytes(bytes: usize) {
    EXPECTED.set(bytes);
}

/// Lends this thread's writer of small payloads, with nothing begun.
fn with_writer<R>(write: impl FnOnce(&mut BlockWriter) -> R) -> R {
    thread_local! {
        static WRITER: RefCell<BlockWriter> = RefCell::new(BlockWriter::new());
    }
    WRITER.with(|writer| match writer.try_borrow_mut() {
        Ok(mut writer) => {
            writer.discard();
            write(&mut writer)
        }
        // A type's own Serialize may put items too, while the writer is lent.
        Err(_) => write(&mut BlockWriter::new()),
    })
}

fn serialize_into<T: Serialize + ?Sized>(
    item: &T,
    may_share: bool,
    small: &mut BlockWriter,
) -> Result<Payload, NotSerialized> {
    let mut lack = None;
    EXPECTED.set(0);
    let writer = PayloadWriter {
        small,
        large: None,
        may_share,
        lack: &mut lack,
    };
    let written = postcard::serialize_with_flavor(item, writer);
    written.map_err(|error| match lack {
        Some(lack) => NotSerialized::NoMemory(lack),
        None => NotSerialized::refused::<T>(&error),
    })
}

/// Checks that an item can be serialized, and discards the bytes.
pub(crate) fn check<T: Serialize>(item: &T) -> Result<(), NotSerialized> {
    postcard::serialize_with_flavor(item, Nowhere)
        .map_err(|error| NotSerialized::refused::<T>(&error))
}

/// Discards what postcard writes.
struct Nowhere;

impl Flavor for Nowhere {
    type Output = ();

    fn try_push(&mut self, _byte: u8) -> postcard::Result<()> {
        Ok(())
    }

    fn try_extend(&mut self, _bytes: &[u8]) -> postcard::Result<()> {
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Collects what postcard writes.
struct PayloadWriter<'a> {
    small: &'a mut BlockWriter,
    /// Set once the payload is known to be large.
    large: Option<PartWriter>,
    may_share: bool,
    /// The reason for which there is no shared memory.
    lack: &'a mut Option<NoSharedMemory>,
}

impl PayloadWriter<'_> {
    /// Moves what was written so far, and what follows, into shared memory.
    #[cold]
    fn enlarge(&mut self, more: usize) -> postcard::Result<()> {
        let least = self.small.len() + more;
        let large = PartWriter::with_capacity(EXPECTED.take().max(least));
        let large = large.and_then(|large| large.with(self.small.written()));
        self.large = Some(self.noted(large)?);
        Ok(())
    }

    fn noted<R>(&mut self, result: Result<R, NoSharedMemory>) -> postcard::Result<R> {
        result.map_err(|lack| {
            *self.lack = Some(lack);
            postcard::Error::SerializeBufferFull
        })
    }
}

impl Flavor for PayloadWriter<'_> {
    type Output = Payload;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.may_share
            && self.large.is_none()
            && self.small.len() + bytes.len() > INLINE_BYTES_MAX
        {
            self.enlarge(bytes.len())?;
        }
        if let Some(large) = &mut self.large {
            let written = large.extend(bytes);
            return self.noted(written);
        }
        self.small.extend(bytes);
        Ok(())
    }

    #[inline]
    fn finalize(self) -> postcard::Result<Payload> {
        match self.large {
            Some(large) => Ok(Payload::Shared(large.finish())),
            None if self.small.len() == 0 => Ok(Payload::Empty),
            None if self.small.len() > INLINE_BYTES_MAX => {
                // It gets its own memory, because later small ones would keep this block alive.
                let payload = Payload::copy_of(self.small.written());
                *self.small = BlockWriter::new();
                Ok(payload)
            }
            None => {
                let slice = self.small.cut();
                slice
                    .map(Payload::Heap)
                    .ok_or(postcard::Error::SerializeBufferFull)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_bytes::ByteBuf;

    use super::*;

    #[test]
    fn small_payloads_lie_side_by_side() {
        let one = serialize("item-1", true).unwrap();
        let two = serialize("item-2", true).unwrap();
        assert_eq!(two.as_ptr().addr() - one.as_ptr().addr(), one.len());
        assert_eq!(postcard::from_bytes::<&str>(&one), Ok("item-1"));
    }

    #[test]
    fn large_payloads_lie_in_shared_memory_where_they_may_travel() {
        let item = ("item-1", ByteBuf::from(vec![7; 1 << 20]));
        for may_share in [false, true] {
            let payload = serialize(&item, may_share).unwrap();
            assert_eq!(matches!(payload, Payload::Shared(_)), may_share);
            let back: (&str, ByteBuf) = postcard::from_bytes(&payload).unwrap();
            assert_eq!(back, item);
        }
    }

    #[test]
    fn one_that_grows_byte_by_byte_moves_to_larger_memory() {
        let item: Vec<u32> = (0..300_000).collect();
        let payload = serialize(&item, true).unwrap();
        assert!(matches!(payload, Payload::Shared(_)));
        assert_eq!(postcard::from_bytes::<Vec<u32>>(&payload).unwrap(), item);
    }

    #[test]
    fn an_item_that_does_not_serialize_leaves_the_block_usable() {
        struct Bad;
        impl Serialize for Bad {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        assert!(serialize(&("item", Bad), true).is_err());
        let payload = serialize("item-1", true).unwrap();
        assert_eq!(postcard::from_bytes::<&str>(&payload), Ok("item-1"));
    }
}
