//! The items that a reader of lines has made and not yet put, so that many are put at once. It does
//! not know where the lines come from.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::exit_codes::RunError;
use crate::queue::batch::{BATCH_ITEMS, Batch};
use crate::{Error, ItemId, JoinableQueue};

/// Items that wait for others to be put with, but only while the next line is there.
#[derive(Debug)]
pub(super) struct PutBuffer {
    batch: Batch<()>,
    pub(super) left_out: LeftOut,
}

/// The items that were not put because others stand for them.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    count: u64,
    /// The number of those that were not taken.
    untaken: u64,
    /// The item that stands for the last one.
    of: Option<ItemId>,
}

impl LeftOut {
    /// Adds one, for which this item stands.
    pub(super) fn add(&mut self, of: ItemId) {
        self.count += 1;
        self.untaken += 1;
        self.of = Some(of);
    }

    /// Returns the number of those that were not taken before.
    pub(super) fn take(&mut self) -> u64 {
        std::mem::take(&mut self.untaken)
    }

    /// Says how many there are, if there are some.
    pub(super) fn words(&self) -> Option<String> {
        let of = self.of?;
        Some(match self.count {
            1 => format!("1 item was not put: it is a duplicate of item {of}"),
            count => format!(
                "{count} items were not put: they are duplicates of others, the last one of item {of}"
            ),
        })
    }
}

impl PutBuffer {
    pub(super) fn new() -> Self {
        PutBuffer {
            batch: Batch::new(),
            left_out: LeftOut::default(),
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
            false => queue.put_batch(&mut self.batch, |of| self.left_out.add(of)),
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
