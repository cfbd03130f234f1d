//! An item of a few bytes and large buffers beside them, as pickle's protocol 5 makes them. It does
//! not know what is in either.

use serde::de::Deserializer;
use serde::ser::SerializeTuple;
use serde::{Deserialize, Serialize, Serializer};

use super::Blob;
use crate::payload;

/// The alignment of a buffer, in bytes, where the item is this or begins with it: a cache line, and
/// enough for any number.
const ALIGN: usize = 64;

static PADDING: [u8; ALIGN] = [0; ALIGN];

/// Bytes and large buffers that belong to them, as an item: a serialized object, and what of it was
/// left out to be shared.
///
/// Each buffer is copied once, when the item is put: into shared memory, if there are worker processes
/// and the whole is longer than 16 KiB. A worker process reads it there. The memory stays until
/// the item is acknowledged and the last [`Blob`] of it is dropped, whichever is later, and cannot be
/// written to by whoever reads it; [`Blob::into_mut`] gives pages of its own to whoever writes. Where the
/// item is a `Parts`, or a structure whose first field is one, buffers begin at multiples of 64 bytes.
///
/// # Example
///
/// ```
/// use dishrack::{Blob, JoinableQueue, Parts};
///
/// let arrays: JoinableQueue<Parts> = JoinableQueue::unbounded();
/// let rows = vec![Blob::from(vec![1; 1 << 20]), Blob::from(vec![2; 1 << 20])];
/// arrays.put(&Parts::new(b"two rows".as_slice(), rows))?;
/// let delivery = arrays.get()?;
/// assert_eq!((&*delivery.inline, delivery.buffers[1][0]), (b"two rows".as_slice(), 2));
/// delivery.task_done()?;
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The bytes that belong to no buffer.
    pub inline: Blob,
    /// The buffers, in their order.
    pub buffers: Vec<Blob>,
}

impl Parts {
    /// Makes an item of these.
    #[must_use]
    pub fn new(inline: impl Into<Blob>, buffers: Vec<Blob>) -> Self {
        Parts {
            inline: inline.into(),
            buffers,
        }
    }
}

/// Bytes that serde takes as such.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// The buffers as they are written: each after so many bytes of padding that it is aligned.
struct Aligned<'a> {
    buffers: &'a [Blob],
    /// The number of bytes before them.
    position: usize,
}

impl Serialize for Aligned<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut written = serializer.serialize_seq(Some(self.buffers.len()))?;
        let mut position = self.position + length_bytes(self.buffers.len());
        for buffer in self.buffers {
            let before = position + 1 + length_bytes(buffer.len());
            let padding = before.next_multiple_of(ALIGN) - before;
            written.serialize_element(&(Raw(&PADDING[..padding]), Raw(buffer)))?;
            position = before + padding + buffer.len();
        }
        written.end()
    }
}

/// Returns the number of bytes in which a length is written: seven bits in each.
fn length_bytes(length: usize) -> usize {
    let bits = usize::BITS - (length | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

impl Serialize for Parts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let position = length_bytes(self.inline.len()) + self.inline.len();
        let buffers = self.buffers.iter().map(|one| one.len() + 2 * ALIGN);
        // So that what was written is not moved to larger memory again and again.
        payload::expect_bytes(position + 2 * ALIGN + buffers.sum::<usize>());
        let mut written = serializer.serialize_tuple(2)?;
        written.serialize_element(&Raw(&self.inline))?;
        written.serialize_element(&Aligned {
            buffers: &self.buffers,
            position,
        })?;
        written.end()
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (inline, buffers) = <(Blob, Vec<(Skipped, Blob)>)>::deserialize(deserializer)?;
        let buffers = buffers.into_iter().map(|(_, buffer)| buffer).collect();
        Ok(Parts { inline, buffers })
    }
}

/// Padding that was read.
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let _padding: &serde_bytes::Bytes = Deserialize::deserialize(deserializer)?;
        Ok(Skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was_with_its_buffers_aligned() {
        for sizes in [
            vec![],
            vec![0],
            vec![1, 127, 128, 16_383, 16_384, 3 << 20, 5],
        ] {
            for inline in [0, 1, 100, 127, 128, 20_000] {
                let buffers = sizes.iter().map(|size| Blob::from(vec![7; *size]));
                let parts = Parts::new(vec![1; inline], buffers.collect());
                let payload = payload::serialize(&parts, true).unwrap();
                let start = payload.as_ptr().addr();
                let whole: (
                    &serde_bytes::Bytes,
                    Vec<(&serde_bytes::Bytes, &serde_bytes::Bytes)>,
                ) = postcard::from_bytes(&payload).unwrap();
                for (_, buffer) in whole.1 {
                    assert_eq!(
                        (buffer.as_ptr().addr() - start) % ALIGN,
                        0,
                        "{sizes:?} {inline}"
                    );
                }
                assert_eq!(postcard::from_bytes::<Parts>(&payload).unwrap(), parts);
            }
        }
    }

    #[test]
    fn it_is_written_once() {
        let buffers = vec![Blob::from(vec![1; 40_000]), Blob::from(vec![2; 5 << 20])];
        let parts = Parts::new(vec![0; 100], buffers);
        let payload = payload::serialize(&parts, true).unwrap();
        let payload::Payload::Shared(part) = payload else {
            panic!("it is large");
        };
        let most = part.len() + 8 * ALIGN + 4096;
        assert!(
            part.segment.len() <= most.max(4 << 20),
            "no room for twice as much"
        );
    }
}
