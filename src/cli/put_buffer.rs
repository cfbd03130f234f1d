//! The items that a reader of lines has made and not yet put, so that many are put at once. It does
//! not know where the lines come from.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit_codes::RunError;
use crate::queue::batch::{BATCH_ITEMS, Batch};
use crate::{Error, JoinableQueue};

/// Items that wait for others to be put with, but only while the next line is there.
#[derive(Debug)]
pub(super) struct PutBuffer {
    batch: Batch<()>,
}

impl PutBuffer {
    pub(super) fn new() -> Self {
        PutBuffer {
            batch: Batch::new(),
        }
    }

    /// Adds an item, and puts all when there are enough.
    ///
    /// # Errors
    /// An item was refused. Those that were added before it have been put or refused as well.
    pub(super) fn add<T: Serialize + DeserializeOwned>(
        &mut self,
        queue: &JoinableQueue<T>,
        item: &T,
        key: Option<&[u8]>,
    ) -> Result<(), Error> {
        if let Err(error) = queue.add_to_batch(&mut self.batch, item, key) {
            self.put(queue)?;
            return Err(error);
        }
        match self.batch.is_full(BATCH_ITEMS) {
            true => self.put(queue),
            false => Ok(()),
        }
    }

    /// Returns the number of items that were added and not put.
    pub(super) fn len(&self) -> u64 {
        self.batch.len() as u64
    }

    /// Puts all items that were added.
    ///
    /// # Errors
    /// An item was refused.
    pub(super) fn put<T: Serialize + DeserializeOwned>(
        &mut self,
        queue: &JoinableQueue<T>,
    ) -> Result<(), Error> {
        match self.batch.is_empty() {
            true => Ok(()),
            false => queue.put_batch(&mut self.batch),
        }
    }
}

/// Returns `false` if the queue was closed before the put.
pub(super) fn is_accepted<R>(put: Result<R, Error>) -> Result<bool, RunError> {
    match put {
        Ok(_) => Ok(true),
        Err(error) if error.is_closed() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
