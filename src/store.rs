//! The backends in which items outlive their workers: the contracts, and one file per backend.
//!
//! Two kinds of backend keep items. A *store* makes a local queue durable: the broker owns the
//! items and tells it what must last. A *stream* owns the items itself, and several supervisors
//! share it. `Backend` is the part that both have. The ledger and the links know nothing of
//! either. A backend is called without the broker's lock where it may take its time.
//!
//! `memory` keeps dead letters as long as the queue lives, `journal` is a store in a file, `redis`
//! a stream; `dishrack_core::book` decides on the contents of a journal.

#[cfg(feature = "journal")]
pub(crate) mod journal;
pub(crate) mod memory;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod stream;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use self::memory::Letters;
use self::stream::Stream;
use crate::payload::envelope::Envelope;
use dishrack_core::book::{Print, Unshown};
use dishrack_core::ledger::{DeadLetter, ItemId, Refusal, Write};

/// The failure of a backend: a sentence for people that says what to do about it. Which failure it is only the
/// backend knows.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub(crate) struct StoreError(Arc<dyn Error + Send + Sync>);

impl StoreError {
    pub(crate) fn of(failure: impl Error + Send + Sync + 'static) -> Self {
        StoreError(Arc::new(failure))
    }
}

/// A dead letter as a backend keeps it: with the item's serialized bytes.
pub(crate) type StoredLetter = DeadLetter<Arc<[u8]>>;

#[derive(Debug, Clone)]
pub(crate) enum Storage {
    /// In memory: the items end with the process.
    Memory(Arc<Letters>),
    /// In a store of this supervisor: they outlive it.
    Local(Arc<dyn Store>),
    /// In a stream of several supervisors.
    Shared(Arc<dyn Stream>),
}

impl Storage {
    pub(crate) fn backend(&self) -> &dyn Backend {
        match self {
            Storage::Memory(letters) => &**letters,
            Storage::Local(store) => &**store,
            Storage::Shared(stream) => &**stream,
        }
    }

    /// Refuses an item that is larger than can be kept here.
    pub(crate) fn limit_size(&self, bytes: usize) -> Result<(), Refusal> {
        let bytes_max = self.backend().item_bytes_max();
        match bytes > bytes_max {
            false => Ok(()),
            true => Err(Refusal::TooLarge {
                bytes: bytes as u64,
                bytes_max: bytes_max as u64,
            }),
        }
    }

    pub(crate) fn local(&self) -> Option<&dyn Store> {
        match self {
            Storage::Local(store) => Some(&**store),
            Storage::Memory(_) | Storage::Shared(_) => None,
        }
    }

    pub(crate) fn shared(&self) -> Option<&dyn Stream> {
        match self {
            Storage::Shared(stream) => Some(&**stream),
            Storage::Memory(_) | Storage::Local(_) => None,
        }
    }
}

/// The part of a store and a stream that both have: the greatest size of items, and dead letters.
pub(crate) trait Backend: Send + Sync + fmt::Debug {
    /// Returns the greatest size of an item in bytes.
    fn item_bytes_max(&self) -> usize {
        usize::MAX
    }

    fn dead_letters(&self) -> Result<Vec<StoredLetter>, StoreError>;

    /// Returns the first dead letters after this number, at most this many.
    fn dead_page(&self, after: ItemId, limit: usize) -> Result<Vec<StoredLetter>, StoreError> {
        let letters = self.dead_letters()?.into_iter();
        Ok(letters
            .filter(|letter| letter.id > after)
            .take(limit)
            .collect())
    }

    /// Returns those of these items that were given up, in the same order: they are dead letters, or
    /// were and somebody took or dropped them. A stream knows those that are dead letters.
    fn given_up_among(&self, mut ids: Vec<ItemId>) -> Result<Vec<ItemId>, StoreError> {
        let dead: BTreeSet<ItemId> = self.dead_letters()?.iter().map(|one| one.id).collect();
        ids.retain(|id| dead.contains(id));
        Ok(ids)
    }

    /// Returns the numbers of all items that were given up, if they are at hand: not those of a stream.
    fn given_up(&self) -> Vec<ItemId> {
        Vec::new()
    }

    /// Hands these dead letters out, oldest first, and forgets all but their numbers.
    fn take_dead(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, StoreError>;

    /// Forgets all of a dead letter but its number. Returns `false` if there is no such letter.
    fn drop_dead(&self, id: ItemId) -> Result<bool, StoreError>;

    /// Makes a dead letter an unfinished item again. `None` if there is no such letter.
    fn revive(&self, id: ItemId) -> Result<Option<StoredLetter>, StoreError>;

    /// Closes all that is open; nothing more will be kept.
    ///
    /// # Errors
    /// The kept items are gone, or cannot be trusted.
    fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The item that a put was answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotedPut {
    /// It was put as this one.
    Item(ItemId),
    /// It was not put, because this item stood for it. No later run knows of that.
    Duplicate { of: ItemId },
}

/// The requests of the broker to a store, which makes a local queue durable.
pub(crate) trait Store: Backend {
    /// Makes all records of a write durable, or none. After an error the broker makes no more
    /// requests.
    fn commit(&self, write: Write<Envelope>) -> Result<(), StoreError>;

    /// Returns `true` if an item with this key was accepted in an earlier run, and does so as many
    /// times as there were such items.
    fn was_put_before(&self, key: &[u8]) -> bool;

    /// Returns the print that is kept of a key.
    fn print_of(&self, key: &[u8]) -> Option<Print>;

    /// Returns what became of a put with this print: by an earlier run, or by this one, if that was
    /// noted.
    fn put_with(&self, print: Print) -> Option<NotedPut>;

    /// Notes what became of a put with this print.
    fn note_put(&self, print: Print, put: NotedPut);

    /// Returns `true` if its last supervisor did not close it: it was killed, or the machine was.
    fn was_left(&self) -> bool;

    /// Returns the identity that tells this store from all others.
    fn identity(&self) -> Option<u128>;

    /// Returns the mark of processes that work for its items, by which they are found when their
    /// supervisor is gone.
    fn process_mark(&self) -> Option<u128>;

    /// Remembers the command that the items are given to, and returns the one before.
    fn exchange_command(&self, command: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Takes the attempts that were over before this run and were not shown.
    fn take_unshown(&self) -> Vec<Unshown>;
}
