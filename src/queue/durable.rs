//! Queues whose items outlive the process: a journal behind the queue, and putting many items for
//! the price of one commit. What is kept, and how, is the store's business.

use std::borrow::Borrow;
#[cfg(any(feature = "journal", feature = "redis"))]
use std::{any::type_name, sync::Arc};
#[cfg(feature = "journal")]
use std::{collections::BTreeSet, marker::PhantomData, path::Path};

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "redis")]
use dishrack_core::ledger::Capacity;
use dishrack_core::ledger::ItemId;
#[cfg(any(feature = "journal", feature = "redis"))]
use dishrack_core::ledger::Options;
#[cfg(feature = "journal")]
use dishrack_core::ledger::Recovered;
#[cfg(feature = "cli")]
use dishrack_core::{book::Unshown, ledger::Counts, shared::Shared};

use super::side::Side;
#[cfg(feature = "journal")]
use super::survivors;
use super::{JoinableQueue, serialized};
#[cfg(any(feature = "journal", feature = "redis"))]
use crate::broker::Broker;
#[cfg(feature = "cli")]
use crate::broker::Core;
use crate::broker::{Deadline, Envelope, current};
use crate::error::Error;
#[cfg(any(feature = "journal", feature = "redis"))]
use crate::error::Kind;
#[cfg(feature = "redis")]
use crate::store::redis::{Layout, Plain, RedisOptions, RedisStore};
#[cfg(feature = "journal")]
use crate::store::{
    self, Store,
    journal::{Durability, Journal, Saved},
};

/// Opens a journal, and ends what an earlier run has left running, before anything is done again:
/// all of it where that run was killed, and what still works for an unfinished item in any case.
#[cfg(feature = "journal")]
pub(crate) fn open_journal(
    path: &Path,
    item_type: &str,
    durability: Durability,
) -> Result<(Journal, Recovered<Envelope>), Kind> {
    let (journal, recovered) = Journal::open(path, item_type, durability)?;
    let Some(mark) = journal.process_mark() else {
        return Ok((journal, recovered));
    };
    let unfinished: BTreeSet<ItemId> = recovered.unfinished.iter().map(|item| item.id).collect();
    if !journal.was_left() && unfinished.is_empty() {
        return Ok((journal, recovered));
    }
    let ended = survivors::end(mark, journal.was_left(), &|id| unfinished.contains(&id));
    if let Err(why) = ended {
        // The next one has to end them first, as well.
        journal.leave_in_use(&why);
        let path = path.display().to_string();
        return Err(Kind::JournalUnusable { path, why });
    }
    Ok((journal, recovered))
}

/// Makes a new journal of what can be read of a damaged one, which stays as it is. The library's
/// `supervisor salvage`.
///
/// What is not known to be done is unfinished in the new journal, and is done again rather than
/// lost. An item of which nothing is left counts as dead. What the damaged journal's last run has left
/// running is ended, unless its item has ended.
///
/// # Errors
/// `is_journal` when the damaged file cannot be read at all, or the new one is there already or
/// cannot be written.
///
/// # Example
///
/// ```
/// use dishrack::{Durability, JoinableQueue, Options, salvage};
///
/// let folder = tempfile::tempdir()?;
/// let (old, new) = (folder.path().join("old"), folder.path().join("new"));
/// let queue = JoinableQueue::<String>::journaled(&old, Durability::Full, Options::default())?;
/// queue.put("wash")?;
/// drop(queue);
///
/// let saved = salvage(&old, &new)?;
/// assert_eq!((saved.unfinished, saved.lost), (1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "journal")]
pub fn salvage(path: impl AsRef<Path>, into: impl AsRef<Path>) -> Result<Saved, Error> {
    store::journal::salvage(path.as_ref(), into.as_ref(), |mark, is_unfinished| {
        survivors::end(mark, true, is_unfinished)
    })
}

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
    /// queue.put("wash")?;
    /// queue.put("dry")?;
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
        let opened = open_journal(path.as_ref(), type_name::<T>(), durability);
        let (journal, recovered) = opened.map_err(Error)?;
        let broker = Broker::durable(options, Arc::new(journal), recovered).map_err(Error)?;
        Ok(JoinableQueue {
            side: Side::Local(broker),
            items: PhantomData,
        })
    }

    /// A queue that supervisors on many machines share: its items are in a Redis stream. What is put
    /// anywhere is worked on by whoever is free, and `join` waits until all of it has an end. When a
    /// supervisor dies, or is cut off, what it held goes to others after the time of a lease.
    ///
    /// `put` returns when Redis has accepted the item; how much that is worth is a matter of its
    /// settings. The bound of the options counts what no supervisor has taken. `close` is for this
    /// process alone, and `cancel` for what it holds. A rendezvous is not possible, as nobody knows
    /// who is idle elsewhere. See `docs/redis.md`.
    ///
    /// # Errors
    /// `is_redis` and `is_setup` when the queue cannot be used: Redis cannot be reached, refuses the
    /// user, or the key is none of ours. The message says which, and what to do.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use dishrack::{JoinableQueue, Options, RedisOptions};
    ///
    /// let place = RedisOptions::new("redis://localhost", "dishes");
    /// let queue = JoinableQueue::<String>::on_redis(&place, Options::default())?;
    /// queue.put("cup")?;
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    #[cfg(feature = "redis")]
    pub fn on_redis(place: &RedisOptions, options: Options) -> Result<Self, Error> {
        let layout = Box::new(Plain(type_name::<T>()));
        Self::on_redis_as(place, options, layout)
    }

    /// The same, with items that stand otherwise in their entries.
    #[cfg(feature = "redis")]
    pub(crate) fn on_redis_as(
        place: &RedisOptions,
        options: Options,
        layout: Box<dyn Layout>,
    ) -> Result<Self, Error> {
        let bound = match options.capacity {
            Capacity::Unbounded => None,
            Capacity::Bounded(bound) => Some(bound as u64),
            Capacity::Rendezvous => {
                return Err(Error(Kind::Invalid {
                    option: "capacity",
                    why: "a queue on Redis cannot be a rendezvous: nobody knows who is idle \
                          elsewhere"
                        .into(),
                }));
            }
        };
        let store = RedisStore::open(place, layout, bound).map_err(Error)?;
        let broker = Broker::over_stream(options, Arc::new(store)).map_err(Error)?;
        Ok(JoinableQueue::of_broker(broker))
    }

    /// Like [`put`](JoinableQueue::put), but without waiting until the item is durable: it is
    /// accepted when [`sync`](Self::sync) has returned, as bytes are when `fsync` follows `write`.
    /// On Redis as well: what was refused for want of memory is told by the next one, or by `sync`.
    /// With neither, and in a worker process, this is `put`.
    ///
    /// # Errors
    /// As [`put`](JoinableQueue::put).
    pub fn put_unsynced<Q>(&self, item: &Q) -> Result<ItemId, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        self.put_with_key(item, None)
    }
}

impl<T> JoinableQueue<T> {
    /// Waits until all items that were put so far are durable, or accepted by Redis. With neither,
    /// and in a worker process, they are.
    ///
    /// # Errors
    /// `is_journal` or `is_redis` when that has failed; then the last of them were not accepted, or it
    /// is not known.
    pub fn sync(&self) -> Result<(), Error> {
        let Side::Local(broker) = &self.side else {
            return Ok(());
        };
        let last = broker.read(|core| match core.dispatcher.ledger.is_broken() {
            // Items that were not durable do not count any more; nothing will ever be.
            true => u64::MAX,
            false => core.dispatcher.ledger.counts().accepted,
        });
        broker.sync(ItemId(last)).map_err(Error)
    }
}

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Puts an item unless it was put in an earlier run of this journal. Items are known by their
    /// keys and counted: a key that was put twice in all earlier runs together is passed over twice
    /// in this one, and put the third time. So a list of jobs may be put again as a whole after a
    /// crash, with lines added, removed or reordered. `None` means that the item is the journal's
    /// already: done, dead or unfinished.
    ///
    /// Without a journal, so on Redis too, and in a worker process, this is `put`.
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
        let id = self.put_with_key(item, Some(key))?;
        if let Side::Local(broker) = &self.side {
            broker.sync(id).map_err(Error)?;
        }
        Ok(Some(id))
    }

    /// Puts an item whose key was not put before; it is accepted after [`sync`](Self::sync).
    pub(crate) fn put_with_key<Q>(&self, item: &Q, key: Option<&[u8]>) -> Result<ItemId, Error>
    where
        T: Borrow<Q>,
        Q: Serialize + ?Sized,
    {
        let Side::Local(broker) = &self.side else {
            return self.put(item);
        };
        let body = serialized(item, broker.shares_memory())?;
        let print = key.and_then(|key| broker.store.print_of(key));
        let envelope = Envelope::with_print(body, print);
        let put = broker.put_unsynced(envelope, Deadline::Forever, current::holds(broker));
        put.map_err(Error)
    }
}

impl<T> JoinableQueue<T> {
    /// Whether an item with this key was put in an earlier run. As many questions are answered with
    /// yes as there were such items.
    pub(crate) fn was_put_before(&self, key: &[u8]) -> bool {
        match &self.side {
            Side::Local(broker) => broker.store.was_put_before(key),
            Side::Remote(_) => false,
        }
    }

    /// From now on the journal keeps how each attempt ended, until [`shown`](Self::shown). What
    /// earlier runs have kept and not shown.
    #[cfg(feature = "cli")]
    pub(crate) fn keep_attempts(&self) -> Vec<Unshown> {
        let Side::Local(broker) = &self.side else {
            return Vec::new();
        };
        broker.with(Core::keep_attempts);
        broker.store.take_unshown()
    }

    /// How these attempts ended has been shown.
    #[cfg(feature = "cli")]
    pub(crate) fn shown(&self, attempts: &[(ItemId, u32)]) {
        if let Side::Local(broker) = &self.side {
            broker.with(|core| core.shown(attempts));
        }
    }

    /// What tells the journal from all others, if there is one.
    #[cfg(feature = "cli")]
    pub(crate) fn journal_identity(&self) -> Option<u128> {
        match &self.side {
            Side::Local(broker) => broker.store.identity(),
            Side::Remote(_) => None,
        }
    }

    /// Whether what keeps the items has failed.
    #[cfg(feature = "cli")]
    pub(crate) fn is_store_broken(&self) -> bool {
        let broker = self.broker();
        broker.is_ok_and(|broker| broker.read(|core| core.dispatcher.ledger.is_broken()))
    }

    /// Why what keeps the items has failed, if it has.
    #[cfg(feature = "cli")]
    pub(crate) fn store_failure(&self) -> Option<String> {
        let broker = self.broker().ok()?;
        broker.read(Core::store_failure)
    }

    /// Takes nothing more from a stream, and waits for no room there; see
    /// [`Broker::quit_stream`].
    #[cfg(feature = "cli")]
    pub(crate) fn quit(&self) {
        if let Side::Local(broker) = &self.side {
            broker.quit_stream();
        }
    }

    /// Where all items are, also those of others on a stream, as far as is known here.
    #[cfg(feature = "cli")]
    pub(crate) fn counts_known(&self) -> Counts {
        let broker = self.broker();
        broker.map_or_else(|_| Counts::default(), |broker| broker.counts_known())
    }

    /// How many of the items that were put here a stream has accepted.
    #[cfg(feature = "cli")]
    pub(crate) fn accepted_of_ours(&self) -> u64 {
        self.of_stream(|shared| shared.accepted).unwrap_or(0)
    }

    /// How many more may be there: the stream was told of them, and has not answered.
    #[cfg(feature = "cli")]
    pub(crate) fn maybe_accepted_of_ours(&self) -> u64 {
        self.of_stream(Shared::maybe_accepted).unwrap_or(0)
    }

    /// Whether the stream is known to be away, or its replicas to lag, so that what is told waits.
    #[cfg(feature = "cli")]
    pub(crate) fn lacks_stream(&self) -> bool {
        self.of_stream(|shared| shared.lack.is_some())
            .unwrap_or(false)
    }

    /// Waits no longer for a stream that does not answer; see [`Broker::give_up_stream`].
    #[cfg(feature = "cli")]
    pub(crate) fn give_up(&self, because: &str) {
        if let Side::Local(broker) = &self.side {
            broker.give_up_stream(because);
        }
    }

    /// How many other supervisors work on the stream, as far as is known.
    #[cfg(feature = "cli")]
    pub(crate) fn others(&self) -> u64 {
        self.of_stream(|shared| shared.others).unwrap_or(0)
    }

    /// Whether the stream has come back without all that was told to it.
    #[cfg(feature = "cli")]
    pub(crate) fn is_older(&self) -> bool {
        self.of_stream(|shared| shared.is_older).unwrap_or(false)
    }

    /// How many items of the stream are gone without an end, as far as is known.
    #[cfg(feature = "cli")]
    pub(crate) fn gone(&self) -> u64 {
        self.of_stream(|shared| shared.stream_state.gone)
            .unwrap_or(0)
    }

    #[cfg(feature = "cli")]
    fn of_stream<R>(&self, ask: impl FnOnce(&Shared<Envelope>) -> R) -> Option<R> {
        let broker = self.broker().ok()?;
        broker.read(|core| core.dispatcher.shared.as_ref().map(ask))
    }

    /// Waits until all that happened is durable, or told to the stream.
    #[cfg(feature = "cli")]
    pub(crate) fn sync_all(&self) -> Result<(), Error> {
        match &self.side {
            Side::Local(broker) => broker.sync_all().map_err(Error),
            Side::Remote(_) => Ok(()),
        }
    }

    /// Ends the journal when all that happened is in it, in one file; or leaves the stream when all
    /// that happened is told, and gives back what was not worked on. Nothing can be put or settled
    /// afterwards.
    ///
    /// # Errors
    /// `is_journal` where its files were changed by somebody else since they were last written to.
    #[cfg(feature = "cli")]
    pub(crate) fn close_store(&self) -> Result<(), Error> {
        if let Side::Local(broker) = &self.side {
            // What could not be written is for the next run.
            let _ = self.sync_all();
            if !broker.leave_stream() {
                let closed = broker.store.close();
                return closed.map_err(|why| Error(Kind::Journal(why)));
            }
        }
        Ok(())
    }

    /// Has a journal remember what its items are given to, and says what they were given to before.
    #[cfg(feature = "cli")]
    pub(crate) fn exchange_command(&self, command: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match &self.side {
            Side::Local(broker) => {
                let earlier = broker.store.exchange_command(command);
                earlier.map_err(|why| Error(Kind::Journal(why)))
            }
            Side::Remote(_) => Ok(None),
        }
    }

    /// Leaves a stream, now: what cannot be told in a moment is not.
    #[cfg(feature = "cli")]
    pub(crate) fn leave(&self) {
        if let Side::Local(broker) = &self.side {
            broker.leave_stream();
        }
    }
}
