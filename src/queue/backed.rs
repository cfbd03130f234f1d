//! Opens queues with a backend, whose items outlive the process, and puts many items for the price
//! of one commit. The backend decides how they are kept; each kind of queue is made in a file of
//! its own. When a put is durable is not decided here, but in `broker/committer.rs`.

#[cfg(feature = "journal")]
mod journal;

use std::any::type_name;
use std::borrow::Borrow;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::side::Side;
use super::{JoinableQueue, serialized_for};
use crate::broker::{Broker, Envelope, NONE_ON_A_STREAM, current};
use crate::error::{Error, Kind};
use crate::store::stream::sealed::OpenedStream;
use crate::store::stream::{SharedPlace, Stream};
use dishrack_core::ledger::{ItemId, Options, Refusal};
use dishrack_core::stream::entry::Plain;

#[cfg(feature = "cli")]
pub(crate) use self::journal::open_journal;
#[cfg(feature = "journal")]
pub use self::journal::salvage;

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Makes a queue that supervisors on many machines share: its items are in a stream, such as
    /// one on Redis ([`RedisOptions`](crate::RedisOptions)). An item put anywhere goes to any
    /// supervisor with a free worker, and `join` waits until all items have an end. When a
    /// supervisor dies, or is cut off, its items go to others after the time of a lease.
    ///
    /// `put` returns when Redis has accepted the item; how safe it is then depends on the settings
    /// of Redis. The bound of the options counts items that no supervisor has taken. `close` is for
    /// this process alone, and `cancel` for the items that it holds. A rendezvous is not possible,
    /// because no supervisor knows which workers are idle elsewhere. See `docs/redis.md`.
    ///
    /// # Errors
    /// `is_shared` and `is_setup` when the queue cannot be used: Redis cannot be reached, refuses
    /// the user, or the key holds something else. The message says which, and what to do.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use dishrack::{JoinableQueue, Options, RedisOptions};
    ///
    /// let place = RedisOptions::new("redis://localhost", "dishes");
    /// let queue = JoinableQueue::<String>::shared(&place, Options::default())?;
    /// queue.put("cup")?;
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn shared(place: &impl SharedPlace, options: Options) -> Result<Self, Error> {
        if options.copies.is_some() {
            return Err(Error(Kind::invalid("copies", NONE_ON_A_STREAM)));
        }
        let layout = Box::new(Plain(type_name::<T>()));
        let OpenedStream(stream) = place.open(layout, options.capacity)?;
        Self::over_stream(stream, options)
    }

    /// Makes a queue over an open stream.
    pub(crate) fn over_stream(stream: Arc<dyn Stream>, options: Options) -> Result<Self, Error> {
        let broker = Broker::over_stream(options, stream).map_err(Error)?;
        Ok(JoinableQueue::of_broker(broker))
    }

    /// Puts an item as [`put`](JoinableQueue::put) does, but does not wait until it is durable: it
    /// is accepted when [`sync`](Self::sync) has returned, as bytes are when `fsync` follows
    /// `write`. On Redis, an item that was refused for lack of memory is reported by the next call,
    /// or by `sync`. Without a journal or Redis, and in a worker process, this is `put`.
    ///
    /// Returns the item's number, or `None` on Redis, which gives it one only when it accepts it.
    ///
    /// # Errors
    /// As [`put`](JoinableQueue::put).
    pub fn put_unsynced<Q>(&self, item: &Q) -> Result<Option<ItemId>, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.put_with_key(item, None)
    }
}

impl<T> JoinableQueue<T> {
    /// Waits until all items that were put so far are durable, or accepted by Redis. Without a
    /// journal or Redis, and in a worker process, they are.
    ///
    /// # Errors
    /// `is_journal` or `is_shared` when that has failed; then the last of them were not accepted,
    /// or it is not known.
    pub fn sync(&self) -> Result<(), Error> {
        let Side::Local(broker) = &self.side else {
            return Ok(());
        };
        broker.sync_accepted().map_err(Error)
    }

    /// Ends the journal when all changes are in it, in one file; or leaves Redis when all changes
    /// are told, and gives back items that were not worked on. Nothing can be put or settled
    /// afterwards. Dropping the last handle does so too, but cannot say what became of it.
    ///
    /// # Errors
    /// `is_journal` where another program changed its files since they were last written to.
    ///
    /// # Example
    ///
    /// ```
    /// # use dishrack::{Error, JoinableQueue};
    /// /// Ends a run, and says so where the file may be copied or moved.
    /// fn finish(queue: &JoinableQueue<String>) -> Result<(), Error> {
    ///     queue.join()?;
    ///     queue.close_store()?;
    ///     println!("all is in the journal");
    ///     Ok(())
    /// }
    /// # finish(&JoinableQueue::unbounded()).unwrap();
    /// ```
    pub fn close_store(&self) -> Result<(), Error> {
        if let Side::Local(broker) = &self.side {
            // Records that could not be written are for the next run.
            let _ = broker.sync_all();
            if !broker.leave_stream() {
                let closed = broker.storage.backend().close();
                return closed
                    .map_err(|why| Error(Kind::of(Refusal::JournalFailed, why.to_string())));
            }
        }
        Ok(())
    }
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Puts an item unless it was put in an earlier run of this journal. Items are known by their
    /// keys and counted: a key that was put twice in all earlier runs together is passed over twice
    /// in this one, and put the third time. So a list of jobs may be put again as a whole after a
    /// crash, with lines added, removed or reordered.
    ///
    /// Returns `None` if the journal has the item already: done, dead or unfinished. Without a
    /// journal, so on Redis too, and in a worker process, this is `put`.
    ///
    /// # Errors
    /// As [`put`](JoinableQueue::put).
    pub fn put_resumable<Q>(&self, item: &Q, key: &[u8]) -> Result<Option<ItemId>, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        if self.was_put_before(key) {
            return Ok(None);
        }
        match &self.side {
            Side::Local(broker) if broker.storage.local().is_some() => {
                let id = self.put_with_key(item, Some(key))?;
                id.map_or(Ok(()), |id| broker.sync(id)).map_err(Error)?;
                Ok(id)
            }
            Side::Local(_) | Side::Remote(_) => self.put(item).map(Some),
        }
    }

    /// Returns `true` if an item with this key was put in an earlier run, and does so as many times
    /// as there were such items.
    pub(crate) fn was_put_before(&self, key: &[u8]) -> bool {
        match &self.side {
            Side::Local(broker) => {
                let store = broker.storage.local();
                store.is_some_and(|store| store.was_put_before(key))
            }
            Side::Remote(_) => false,
        }
    }

    /// Puts an item whose key was not put before; it is accepted after [`sync`](Self::sync).
    /// Returns its number, if it has one by now.
    pub(crate) fn put_with_key<Q>(
        &self,
        item: &Q,
        key: Option<&[u8]>,
    ) -> Result<Option<ItemId>, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let Side::Local(broker) = &self.side else {
            return self.put(item).map(Some);
        };
        let body = serialized_for(item, broker)?;
        let print = key.and_then(|key| broker.storage.local()?.print_of(key));
        let envelope = Envelope::with_print(body, print);
        let put = broker.put_unsynced(envelope, current::holds(broker));
        put.map_err(Error)
    }
}
