//! Bytes as part of an item, which a worker process reads where they lie.

mod parts;
mod writable;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

pub use self::parts::Parts;
pub use self::writable::BlobMut;
use crate::handler::lending::{self, Borrowed};

/// Bytes as an item, or as part of one.
///
/// A `Vec<u8>` is serialized byte by byte, and a worker gets a copy of it. A `Blob` is copied once,
/// when it is put: if it is longer than 16 KiB, it travels to worker processes in shared memory,
/// and they read it there. It may outlive its item; the memory is reused when it is dropped.
///
/// # Example
///
/// ```
/// use dishrack::{Blob, JoinableQueue, Supervisor};
///
/// let pictures = JoinableQueue::unbounded();
/// let pool = Supervisor::builder()
///     .threads(1)
///     .handler(&pictures, |picture: Blob| Ok::<usize, String>(picture.len()))?;
/// for size in pool.map([Blob::from(vec![0; 1 << 20])]) {
///     assert_eq!(size?, 1 << 20);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Blob(BlobBytes);

#[derive(Clone)]
enum BlobBytes {
    Own(Vec<u8>),
    /// Those of something else.
    Held(Arc<dyn AsRef<[u8]> + Send + Sync>),
    Lent(Borrowed),
}

impl Blob {
    /// Makes one of bytes that something else holds, which are not copied before the blob is put.
    /// They must not change meanwhile: `owner` shows the same ones whenever it is asked.
    #[must_use]
    pub fn of(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Blob(BlobBytes::Held(Arc::new(owner)))
    }

    /// Returns the bytes as a vector, copied if they are not the blob's own.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            BlobBytes::Own(bytes) => bytes,
            BlobBytes::Held(owner) => (*owner).as_ref().to_vec(),
            BlobBytes::Lent(part) => part.to_vec(),
        }
    }

    /// Returns `true` if the bytes are read where the supervisor wrote them, and not from a copy. So it
    /// is in a worker process, and for what is longer than 16 KiB in the supervisor's own.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.0, BlobBytes::Lent(_))
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            BlobBytes::Own(bytes) => bytes,
            BlobBytes::Held(owner) => (**owner).as_ref(),
            BlobBytes::Lent(part) => part,
        }
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Blob(BlobBytes::Own(bytes))
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len())
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Blob {}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BlobVisitor)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Blob, E> {
        match lending::borrow(bytes) {
            Some(part) => Ok(Blob(BlobBytes::Lent(part))),
            None => self.visit_bytes(bytes),
        }
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Blob, A::Error> {
        let mut all = Vec::new();
        while let Some(byte) = bytes.next_element()? {
            all.push(byte);
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_on_the_wire_as_any_bytes() {
        let blob = Blob::from(&b"plate"[..]);
        let wire = postcard::to_stdvec(&blob).unwrap();
        assert_eq!(
            wire,
            postcard::to_stdvec(serde_bytes::Bytes::new(b"plate")).unwrap()
        );
        let back: Blob = postcard::from_bytes(&wire).unwrap();
        assert_eq!((&*back, back.is_shared()), (&b"plate"[..], false));
        assert_eq!(back.into_vec(), b"plate");
    }
}
