//! Puts of items that choose for themselves what others have from their queue.

use std::borrow::Borrow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::side::Side;
use super::{JoinableQueue, serialized};
use crate::broker::{Deadline, Envelope, NONE_ON_A_STREAM, current};
use crate::error::{Error, Kind};
use dishrack_core::ledger::{Copies, ItemId};

/// The choices of a single item. There may be more of them one day, so they are made from the
/// defaults, which are the queue's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// The copies of this item; `None`: those that the queue has for all.
    pub copies: Option<Copies>,
}

impl PutOptions {
    /// Sets the copies of this item; `Copies::first(1)` for none beside itself.
    #[must_use]
    pub fn copies(mut self, copies: Copies) -> Self {
        self.copies = Some(copies);
        self
    }
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Puts an item as [`put`](Self::put) does, with choices of its own: see
    /// [`Builder::copies`](crate::Builder::copies).
    ///
    /// # Errors
    /// As [`put`](Self::put), and `is_setup` where the choice cannot be kept: a queue on Redis has
    /// no copies, a journal does not keep those of single items, which must not be forgotten by the
    /// next run, and in a worker process an item has what its queue has for all.
    ///
    /// # Example
    ///
    /// Two workers dry the dish that must not break:
    ///
    /// ```
    /// use dishrack::{Copies, JoinableQueue, PutOptions, Supervisor};
    ///
    /// let rack = JoinableQueue::unbounded();
    /// let pool = Supervisor::builder().threads(2).handler(&rack, |_dish: String| Ok::<(), String>(()))?;
    /// rack.put("cup")?;
    /// rack.put_with("grandmother's bowl", PutOptions::default().copies(Copies::first(2)))?;
    /// assert_eq!(rack.join()?.done, 2);
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn put_with<Q>(&self, item: &Q, options: PutOptions) -> Result<ItemId, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let PutOptions { copies } = options;
        if copies.is_none() {
            return self.put(item);
        }
        let broker = match &self.side {
            Side::Local(broker) => broker,
            Side::Remote(_) => return Err(refused(IN_A_WORKER)),
        };
        if broker.storage.shared().is_some() {
            return Err(refused(NONE_ON_A_STREAM));
        }
        if broker.storage.local().is_some() {
            return Err(refused(IN_A_JOURNAL));
        }
        let body = serialized(item, broker.shares_memory()).map_err(Error)?;
        let envelope = Envelope::with_copies(body, copies);
        let put = broker.put(envelope, Deadline::Forever, current::holds(broker));
        put.map_err(Error)
    }
}

const IN_A_WORKER: &str =
    "are chosen for single items only where the queue is: here an item has what the queue has";

const IN_A_JOURNAL: &str = "of single items are not kept by a journal, and the next run would \
                            forget them: choose them for the queue, by Options::copies";

fn refused(why: &str) -> Error {
    Error(Kind::invalid("copies", why))
}
