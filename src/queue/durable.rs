//! Queues whose items outlive the process: a journal behind the queue, and putting many items for
//! the price of one commit. What is kept, and how, is the store's business.

#[cfg(feature = "journal")]
use std::{any::type_name, marker::PhantomData, path::Path, sync::Arc};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{JoinableQueue, serialized};
use crate::broker::{Parcel, Patience};
use crate::error::Error;
use crate::ledger::ItemId;
use crate::worker::current::{self, Side};
#[cfg(feature = "journal")]
use crate::{
    broker::Broker,
    ledger::Options,
    store::journal::{Durability, Journal},
};

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// A queue that keeps a journal: what was put and is not done when this process ends, however
    /// it ends, is there again when the queue is next made from the same file. `put` returns when
    /// the item is durable, and an end is told when that is; many puts and ends share one commit.
    ///
    /// The file is made if it is not there. Two more, `-wal` and `-shm`, lie next to it while it is
    /// used. It is for items of one type, known by its name, and for one process at a time.
    ///
    /// # Errors
    /// `is_journal` and `is_setup` when the file cannot be used: it is a folder, not writable, of
    /// another program, type or version, in use, or damaged. The message says which, and what to
    /// do.
    ///
    /// # Example
    ///
    /// ```
    /// use dishrack::{Durability, JoinableQueue, Options};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("jobs.journal");
    /// let open = || JoinableQueue::<String>::journaled(&path, Durability::Full, Options::default());
    ///
    /// let queue = open()?;
    /// queue.put(&"wash".to_owned())?;
    /// queue.put(&"dry".to_owned())?;
    /// queue.get()?.task_done()?;
    /// drop(queue); // Or the process is killed.
    ///
    /// let queue = open()?;
    /// assert_eq!(queue.counts()?.done, 1);
    /// assert_eq!(*queue.get()?, "dry");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "journal")]
    pub fn journaled(
        path: impl AsRef<Path>,
        durability: Durability,
        options: Options,
    ) -> Result<Self, Error> {
        let opened = Journal::open(path.as_ref(), type_name::<T>(), durability);
        let (journal, recovered) = opened.map_err(Error)?;
        let broker = Broker::durable(options, Arc::new(journal), recovered).map_err(Error)?;
        Ok(JoinableQueue {
            side: Side::Local(broker),
            items: PhantomData,
        })
    }

    /// Like [`put`](JoinableQueue::put), but without waiting until the item is durable: it is
    /// accepted when [`sync`](Self::sync) has returned, as bytes are when `fsync` follows `write`.
    /// Without a journal, and in a worker process, this is `put`.
    ///
    /// # Errors
    /// As [`put`](JoinableQueue::put).
    pub fn put_unsynced(&self, item: &T) -> Result<ItemId, Error> {
        self.put_with_key(item, None)
    }

    /// Waits until all items that were put so far are durable. Without a journal, and in a worker
    /// process, they are.
    ///
    /// # Errors
    /// `is_journal` when the journal has failed; then some of them may not have been accepted.
    pub fn sync(&self) -> Result<(), Error> {
        let Side::Local(broker) = &self.side else {
            return Ok(());
        };
        let last = broker.read(|core| match core.desk.ledger.is_broken() {
            // Items that were not durable do not count any more; nothing will ever be.
            true => u64::MAX,
            false => core.desk.ledger.counts().accepted,
        });
        broker.sync(ItemId(last)).map_err(Error)
    }

    /// Puts an item unless it was put in an earlier run of this journal. Items are known by their
    /// keys and counted: a key that was put twice in all earlier runs together is passed over twice
    /// in this one, and put the third time. So a list of jobs may be put again as a whole after a
    /// crash, with lines added, removed or reordered. `None` means that the item is the journal's
    /// already: done, dead or unfinished.
    ///
    /// Without a journal, and in a worker process, this is `put`.
    ///
    /// # Errors
    /// As [`put`](JoinableQueue::put).
    pub fn put_resumable(&self, item: &T, key: &[u8]) -> Result<Option<ItemId>, Error> {
        if self.was_put_before(key) {
            return Ok(None);
        }
        let id = self.put_with_key(item, Some(key))?;
        if let Side::Local(broker) = &self.side {
            broker.sync(id).map_err(Error)?;
        }
        Ok(Some(id))
    }

    /// Whether an item with this key was put in an earlier run. As many questions are answered with
    /// yes as there were such items.
    pub(crate) fn was_put_before(&self, key: &[u8]) -> bool {
        match &self.side {
            Side::Local(broker) => broker.store.was_put_before(key),
            Side::Remote(_) => false,
        }
    }

    /// Puts an item whose key was not put before; it is accepted after [`sync`](Self::sync).
    pub(crate) fn put_with_key(&self, item: &T, key: Option<&[u8]>) -> Result<ItemId, Error> {
        let Side::Local(broker) = &self.side else {
            return self.put(item);
        };
        let body = serialized(item, broker.shares_memory())?;
        let print = key.and_then(|key| broker.store.print_of(key));
        let parcel = Parcel::with_print(body, print);
        let put = broker.put_unsynced(parcel, Patience::Forever, current::holds(broker));
        put.map_err(Error)
    }

    /// Whether the journal has failed.
    #[cfg(feature = "cli")]
    pub(crate) fn is_journal_broken(&self) -> bool {
        let broker = self.broker();
        broker.is_ok_and(|broker| broker.read(|core| core.desk.ledger.is_broken()))
    }

    /// Ends the journal when all that happened is in it, in one file. Nothing can be put or settled
    /// afterwards.
    #[cfg(feature = "cli")]
    pub(crate) fn close_journal(&self) {
        if let Side::Local(broker) = &self.side {
            // What could not be written is for the next run.
            let _ = broker.sync_all();
            broker.store.close();
        }
    }
}
