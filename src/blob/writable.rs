//! Bytes of an item that whoever has them may write to.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::{Blob, BlobBytes};
use crate::handler::lending::Borrowed;
use crate::sys::memory::PrivateMapping;

/// The size in bytes below which a copy costs less than a mapping.
const MAPPED_BYTES_MIN: usize = 64 * 1024;

/// The bytes of a [`Blob`], to be written to: see [`Blob::into_mut`].
///
/// # Example
///
/// ```
/// use dishrack::Blob;
///
/// let row = Blob::from(vec![1, 2, 3]);
/// let mut own = row.clone().into_mut();
/// own[0] = 7;
/// own.reverse();
/// assert_eq!((&*own, &*row), (&[3, 2, 7][..], &[1, 2, 3][..]));
/// ```
pub struct BlobMut(WritableBytes);

enum WritableBytes {
    Own(Vec<u8>),
    /// The mapping goes first: its pages are those of what is lent.
    Mapped {
        mapping: PrivateMapping,
        _lent: Borrowed,
    },
}

impl Blob {
    /// Returns the bytes for the caller to write to. Nobody else sees what is written: not another
    /// handle of the blob, nor a later attempt at its item.
    ///
    /// Where [`is_shared`](Self::is_shared) is true and they are many, they are not copied: the kernel
    /// copies each page when it is written to for the first time. The memory stays as that of the blob
    /// would.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{Blob, JoinableQueue, Supervisor};
    ///
    /// let rows = JoinableQueue::unbounded();
    /// let double = |row: Blob| {
    ///     let mut row = row.into_mut();
    ///     row.iter_mut().for_each(|byte| *byte *= 2);
    ///     Ok::<u64, String>(row.iter().copied().map(u64::from).sum())
    /// };
    /// let pool = Supervisor::builder().threads(1).handler(&rows, double)?;
    /// for sum in pool.map([Blob::from(vec![1; 1000])]) {
    ///     assert_eq!(sum?, 2000);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn into_mut(self) -> BlobMut {
        let lent = match self.0 {
            BlobBytes::Lent(lent) if lent.len() >= MAPPED_BYTES_MIN => lent,
            _ => return BlobMut(WritableBytes::Own(self.into_vec())),
        };
        BlobMut(match lent.to_private() {
            Some(mapping) => WritableBytes::Mapped {
                mapping,
                _lent: lent,
            },
            None => WritableBytes::Own(lent.to_vec()),
        })
    }
}

impl Deref for BlobMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            WritableBytes::Own(bytes) => bytes,
            WritableBytes::Mapped { mapping, .. } => mapping,
        }
    }
}

impl DerefMut for BlobMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            WritableBytes::Own(bytes) => bytes,
            WritableBytes::Mapped { mapping, .. } => mapping,
        }
    }
}

impl fmt::Debug for BlobMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobMut({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JoinableQueue;

    #[test]
    fn what_a_consumer_of_this_process_writes_is_its_own() {
        let queue: JoinableQueue<Blob> = JoinableQueue::unbounded();
        for bytes in [100, 20_000, 200_000] {
            queue.put(&Blob::from(vec![1; bytes])).unwrap();
            let delivery = queue.get().unwrap();
            assert_eq!(delivery.is_shared(), bytes > 16 * 1024);
            let mut own = delivery.clone().into_mut();
            own.fill(2);
            assert!(delivery.iter().all(|byte| *byte == 1));
            delivery.nack("again").unwrap();
            assert!(own.iter().all(|byte| *byte == 2));
            let again = queue.get().unwrap();
            assert!(again.iter().all(|byte| *byte == 1));
            again.task_done().unwrap();
        }
    }
}
