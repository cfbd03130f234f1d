//! Where items outlive what works on them: the contract, and one file per store.
//!
//! The broker tells the store of dead letters; the ledger and the links know nothing of it.
//! [`memory`] keeps them as long as the queue lives.

pub(crate) mod memory;

use std::fmt;
use std::sync::Arc;

use crate::ledger::DeadLetter;

/// A dead letter as a store keeps it: with the item's serialized bytes.
pub(crate) type StoredLetter = DeadLetter<Arc<[u8]>>;

/// What the broker asks of a store.
pub(crate) trait Store: Send + fmt::Debug {
    /// Keeps an item that was given up on, with its history.
    fn keep_dead(&mut self, letter: StoredLetter);

    /// Hands all dead letters out, oldest first, and forgets them.
    fn take_dead(&mut self) -> Vec<StoredLetter>;
}
