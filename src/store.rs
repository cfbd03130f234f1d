//! Where items outlive what works on them: the contract, and one file per store.
//!
//! The broker tells the store what must last; the ledger and the links know nothing of it. A store
//! is called without the broker's lock where it may take its time: commits by one thread, questions
//! by anybody. `memory` keeps dead letters as long as the queue lives, `journal` keeps everything
//! in a file, and `dishrack_core::book` is what a journal keeps.

#[cfg(feature = "journal")]
pub(crate) mod journal;
pub(crate) mod memory;
#[cfg(feature = "redis")]
#[doc(hidden)]
pub mod redis;
#[cfg(feature = "redis")]
pub(crate) mod stream;

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "cli")]
use dishrack_core::book::Unshown;
use dishrack_core::ledger::{DeadLetter, ItemId, Write};

/// A dead letter as a store keeps it: with the item's serialized bytes.
pub(crate) type StoredLetter = DeadLetter<Arc<[u8]>>;

/// What the broker asks of a store.
pub(crate) trait Store: Send + Sync + fmt::Debug {
    /// Makes all records of a write durable, or none. After an error it is asked for nothing more.
    fn commit(&self, write: &Write<crate::payload::envelope::Envelope>) -> Result<(), String>;

    /// The most bytes an item may have.
    fn item_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// An item was given up on, and that was told. Called with the broker's lock held.
    fn keep_dead(&self, letter: StoredLetter);

    /// All dead letters, oldest first.
    fn dead_letters(&self) -> Result<Vec<StoredLetter>, String>;

    /// Hands these dead letters out, oldest first, and forgets them.
    fn take_dead(
        &self,
        is_wanted: &dyn Fn(&StoredLetter) -> bool,
    ) -> Result<Vec<StoredLetter>, String>;

    /// Makes a dead letter an unfinished item again. `None` if there is no such letter.
    fn revive(&self, id: ItemId) -> Result<Option<StoredLetter>, String>;

    /// Whether an item with this key was accepted in an earlier run, and not asked for since: as
    /// many questions are answered with yes as there were such items.
    fn was_put_before(&self, _key: &[u8]) -> bool {
        false
    }

    /// Nothing more will be kept: whatever is open is closed.
    ///
    /// # Errors
    /// What was kept is not there any more, or cannot be believed.
    fn close(&self) -> Result<(), String> {
        Ok(())
    }

    /// What tells this store from all others, if anything does.
    #[cfg(feature = "cli")]
    fn identity(&self) -> Option<u128> {
        None
    }

    /// What tells whose items a process works for, if that is to be known when its supervisor is gone.
    fn process_mark(&self) -> Option<u128> {
        None
    }

    /// Remembers what the items are given to, and says what they were given to before.
    #[cfg(feature = "cli")]
    fn exchange_command(&self, _command: &[u8]) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    /// The attempts that were over before this run and that nobody has shown, once.
    #[cfg(feature = "cli")]
    fn take_unshown(&self) -> Vec<Unshown> {
        Vec::new()
    }

    /// What is kept of a key.
    fn print_of(&self, _key: &[u8]) -> Option<dishrack_core::book::Print> {
        None
    }
}
