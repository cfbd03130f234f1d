//! A ring of records from one writer to one reader, in memory that two processes share.
//!
//! The writer puts whole records into the ring and then publishes them by one store, so a reader
//! never sees half a record, wherever the writer is killed. Positions count bytes since the
//! beginning and only grow. A record lies in one piece: eight bytes for its length, then its bytes.
//! Where it does not fit before the end of the memory, a mark sends the reader to the beginning.
//! Data from the other side is checked before use. The module knows no processes and never
//! waits; waking is the ring pair's business.

use std::sync::atomic::{AtomicU64, Ordering};

/// The alignment of records in bytes; each begins with its length.
const ALIGN: usize = 8;

/// Stands in place of a length: the next record is at the beginning of the memory.
const WRAP: u64 = u64::MAX;

/// The memory of one ring: its bytes, and the two positions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ring {
    words: *const AtomicU64,
    capacity: usize,
    /// The end of the published records, stored by the writer.
    head: *const AtomicU64,
    /// The end of the records that were read, stored by the reader.
    tail: *const AtomicU64,
}

// SAFETY: all access through these pointers is atomic, or is to bytes that the protocol gives to
// one side alone; the memory outlives the ring (see `Ring::new`).
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    /// # Safety
    /// `words` begins `capacity` bytes, a power of two and at least 64. They and both positions are
    /// mapped for as long as the ring or a copy of it is used, and nothing else uses them but the
    /// ring's two sides, one writer and one reader.
    pub(crate) unsafe fn new(
        words: *const AtomicU64,
        capacity: usize,
        head: *const AtomicU64,
        tail: *const AtomicU64,
    ) -> Self {
        debug_assert!(capacity.is_power_of_two() && capacity >= 64);
        Ring {
            words,
            capacity,
            head,
            tail,
        }
    }

    fn head(&self) -> &AtomicU64 {
        // SAFETY: mapped as long as this is used, see `new`.
        unsafe { &*self.head }
    }

    fn tail(&self) -> &AtomicU64 {
        // SAFETY: mapped as long as this is used, see `new`.
        unsafe { &*self.tail }
    }

    /// Returns the end of the published records.
    pub(crate) fn published(&self) -> u64 {
        self.head().load(Ordering::Acquire)
    }

    /// Returns the end of the records that were read.
    pub(crate) fn read(&self) -> u64 {
        self.tail().load(Ordering::Acquire)
    }

    fn offset(&self, position: u64) -> usize {
        // The capacity is a power of two, and fewer than 2^64.
        usize::try_from(position & (self.capacity as u64 - 1)).unwrap_or(0)
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset < self.capacity && offset.is_multiple_of(ALIGN));
        // SAFETY: `offset` is within the ring's memory and a multiple of a word.
        unsafe { &*self.words.byte_add(offset) }
    }

    /// Returns the number of bytes from a position to the end of the memory.
    fn until_end(&self, position: u64) -> usize {
        self.capacity - self.offset(position)
    }
}

fn padded(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}

/// The writing side.
#[derive(Debug)]
pub(crate) struct RingWriter {
    ring: Ring,
    /// The position of the next record, ahead of what is published.
    position: u64,
    /// The reader's position when it was last loaded.
    tail: u64,
}

impl RingWriter {
    /// Starts writing to an unused ring.
    pub(crate) fn new(ring: Ring) -> Self {
        RingWriter {
            ring,
            position: 0,
            tail: 0,
        }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the position up to which the reader has read.
    pub(crate) fn reader_position(&self) -> u64 {
        self.ring.read()
    }

    fn has_room(&mut self, bytes: usize) -> bool {
        let free = |writer: &Self| {
            let used = writer.position.saturating_sub(writer.tail);
            let used = usize::try_from(used).unwrap_or(usize::MAX);
            writer.ring.capacity.saturating_sub(used)
        };
        if free(self) >= bytes {
            return true;
        }
        // An impossible position of the reader is ignored, as if it had not moved.
        let tail = self.ring.read();
        if (self.tail..=self.position).contains(&tail) {
            self.tail = tail;
        }
        free(self) >= bytes
    }

    /// Adds a record of at most `bytes_max` bytes. `fill` is given a space of that size, writes the
    /// record and returns its length. Returns `false` and adds nothing if there is no room.
    pub(crate) fn write(
        &mut self,
        bytes_max: usize,
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> bool {
        let whole = ALIGN + padded(bytes_max);
        let left = self.ring.until_end(self.position);
        let skipped = if left < whole { left } else { 0 };
        if whole > self.ring.capacity / 2 || !self.has_room(skipped + whole) {
            return false;
        }
        if skipped > 0 {
            let end = self.ring.word(self.ring.offset(self.position));
            end.store(WRAP, Ordering::Relaxed);
            self.position += skipped as u64;
        }
        let start = self.ring.offset(self.position);
        // SAFETY: these bytes are within the memory, are aligned as bytes are, and lie between what
        // is published and what was read, so the reader does not look at them.
        let space = unsafe {
            let first = self.ring.words.byte_add(start + ALIGN);
            std::slice::from_raw_parts_mut(first.cast::<u8>().cast_mut(), bytes_max)
        };
        let length = fill(space).min(bytes_max);
        self.ring
            .word(start)
            .store(length as u64, Ordering::Relaxed);
        self.position += (ALIGN + padded(length)) as u64;
        true
    }

    /// Stores the published position again, in case other code has overwritten it.
    pub(crate) fn restore(&mut self) {
        self.ring.head().store(self.position, Ordering::Release);
    }

    /// Shows the reader what was written. Returns `true` if there was anything.
    pub(crate) fn publish(&mut self) -> bool {
        if self.ring.head().load(Ordering::Relaxed) == self.position {
            return false;
        }
        self.ring.head().store(self.position, Ordering::Release);
        true
    }
}

/// The other side wrote something impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corrupt;

/// The reading side.
#[derive(Debug)]
pub(crate) struct RingReader {
    ring: Ring,
    position: u64,
    /// The writer's position when it was last loaded.
    head: u64,
}

impl RingReader {
    /// Starts reading a ring at its beginning.
    pub(crate) fn new(ring: Ring) -> Self {
        RingReader {
            ring,
            position: 0,
            head: 0,
        }
    }

    /// Returns the position up to which this side has read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ring.published() == self.position
    }

    /// Returns the place and the length of the next record, if there is one.
    fn next(&mut self) -> Result<Option<(usize, usize)>, Corrupt> {
        if self.position == self.head {
            let head = self.ring.published();
            if head == self.position {
                return Ok(None);
            }
            let ahead = head.wrapping_sub(self.position);
            if ahead > self.ring.capacity as u64 || !head.is_multiple_of(ALIGN as u64) {
                return Err(Corrupt);
            }
            self.head = head;
        }
        let mut start = self.ring.offset(self.position);
        let mut length = self.ring.word(start).load(Ordering::Relaxed);
        if length == WRAP {
            self.position += self.ring.until_end(self.position) as u64;
            start = 0;
            if self.position >= self.head {
                return Err(Corrupt);
            }
            length = self.ring.word(start).load(Ordering::Relaxed);
        }
        let length = usize::try_from(length).map_err(|_| Corrupt)?;
        let ahead = usize::try_from(self.head - self.position).map_err(|_| Corrupt)?;
        let left = ahead.min(self.ring.capacity - start);
        match length <= left - ALIGN {
            true => Ok(Some((start + ALIGN, length))),
            false => Err(Corrupt),
        }
    }

    /// Copies the next record into `record`, replacing its content. Returns `false` if there is
    /// none. The record stays in the ring until [`consume`](Self::consume).
    ///
    /// # Errors
    /// The bytes in the ring cannot be a record.
    pub(crate) fn copy_next(&mut self, record: &mut Vec<u8>) -> Result<bool, Corrupt> {
        record.clear();
        let Some((start, length)) = self.next()? else {
            return Ok(false);
        };
        record.reserve(padded(length));
        let copy = record.as_mut_ptr().cast::<u64>();
        // Word by word and atomically, because a faulty writer may go on writing there.
        for number in 0..padded(length) / ALIGN {
            let word = self
                .ring
                .word(start + number * ALIGN)
                .load(Ordering::Relaxed);
            // SAFETY: room for that many bytes was reserved.
            unsafe { copy.add(number).write_unaligned(word) };
        }
        // SAFETY: at least that many were written just now.
        unsafe { record.set_len(length) };
        Ok(true)
    }

    /// Passes the last copied record. Its room is free after [`release`](Self::release).
    pub(crate) fn consume(&mut self, length: usize) {
        self.position += (ALIGN + padded(length)) as u64;
    }

    /// Gives the room of the consumed records to the writer.
    pub(crate) fn release(&mut self) {
        self.ring.tail().store(self.position, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Memory {
        words: Box<[AtomicU64]>,
        ends: Box<[AtomicU64; 2]>,
    }

    impl Memory {
        fn new(bytes: usize) -> Self {
            Memory {
                words: (0..bytes / ALIGN).map(|_| AtomicU64::new(0)).collect(),
                ends: Box::default(),
            }
        }

        fn ring(&self) -> Ring {
            let [head, tail] = &*self.ends;
            // SAFETY: the memory lives as long as the tests use it.
            unsafe { Ring::new(self.words.as_ptr(), self.words.len() * ALIGN, head, tail) }
        }
    }

    fn write(writer: &mut RingWriter, record: &[u8]) -> bool {
        writer.write(record.len(), |space| {
            space.copy_from_slice(record);
            record.len()
        })
    }

    fn read(reader: &mut RingReader) -> Result<Option<Vec<u8>>, Corrupt> {
        let mut record = Vec::new();
        if !reader.copy_next(&mut record)? {
            return Ok(None);
        }
        reader.consume(record.len());
        reader.release();
        Ok(Some(record))
    }

    #[test]
    fn records_come_out_as_they_went_in_and_only_when_published() {
        let memory = Memory::new(256);
        let (mut writer, mut reader) = (
            RingWriter::new(memory.ring()),
            RingReader::new(memory.ring()),
        );
        assert!(write(&mut writer, b"item-1") && write(&mut writer, b""));
        assert_eq!(read(&mut reader), Ok(None));
        assert!(writer.publish() && !writer.publish());
        assert_eq!(read(&mut reader), Ok(Some(b"item-1".to_vec())));
        assert_eq!(read(&mut reader), Ok(Some(Vec::new())));
        assert!(reader.is_empty());
    }

    #[test]
    fn any_records_come_out_in_order_and_a_full_ring_refuses() {
        proptest::proptest!(|(steps: Vec<(bool, u8)>)| {
            let memory = Memory::new(512);
            let (mut writer, mut reader) = (RingWriter::new(memory.ring()), RingReader::new(memory.ring()));
            let mut model = std::collections::VecDeque::new();
            for (is_write, length) in steps {
                let record = vec![length; usize::from(length)];
                if is_write && write(&mut writer, &record) {
                    writer.publish();
                    model.push_back(record);
                } else {
                    proptest::prop_assert_eq!(read(&mut reader), Ok(model.pop_front()));
                }
            }
        });
    }

    #[test]
    fn what_cannot_be_a_record_is_refused() {
        proptest::proptest!(|(words: Vec<u64>, head in 0_u64..2000)| {
            let memory = Memory::new(256);
            for (word, value) in memory.words.iter().zip(words) {
                word.store(value, Ordering::Relaxed);
            }
            let mut reader = RingReader::new(memory.ring());
            memory.ends[0].store(head, Ordering::Release);
            for _ in 0..100 {
                if !matches!(read(&mut reader), Ok(Some(_))) {
                    break;
                }
            }
        });
    }

    #[test]
    fn two_threads_pass_a_million_bytes() {
        let memory = Memory::new(4096);
        let (mut writer, mut reader) = (
            RingWriter::new(memory.ring()),
            RingReader::new(memory.ring()),
        );
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..10_000_u32 {
                    let record = number.to_le_bytes().repeat(1 + number as usize % 40);
                    while !write(&mut writer, &record) {
                        std::thread::yield_now();
                    }
                    writer.publish();
                }
            });
            for number in 0..10_000_u32 {
                let record = loop {
                    if let Some(record) = read(&mut reader).unwrap() {
                        break record;
                    }
                    std::thread::yield_now();
                };
                let expected = number.to_le_bytes().repeat(1 + number as usize % 40);
                assert_eq!(record, expected);
            }
        });
    }
}
