//! The reason why a request to a queue was refused: one type for it, from the ledger to the caller,
//! in this process or in another one.
//!
//! It has no words. The place where a journal or a pool failed knows why, and its words travel
//! beside the refusal.

use serde::{Deserialize, Serialize};

use super::ItemId;

/// The reason why a put, a get or a join was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no room, or there was none in time.
    Full,
    /// There is no item, or there was none in time.
    Empty,
    /// The queue is closed, or the worker is being stopped.
    Closed,
    /// The time for joining is over.
    TimedOut {
        /// The number of items without an end.
        unfinished: u64,
    },
    /// No workers are left.
    NoWorkersLeft {
        /// The number of items without an end.
        unfinished: u64,
    },
    /// A worker would wait for the end of an item that it holds itself.
    WaitsForItself,
    /// The store does not take so large an item.
    TooLarge {
        /// The item's size.
        bytes: u64,
        /// The largest one that it takes.
        bytes_max: u64,
    },
    /// The journal has failed.
    JournalFailed,
    /// The stream has failed.
    StreamFailed,
    /// The stream does not take this item.
    NotTaken,
    /// It was to begin after an item that was never accepted.
    UnknownItem(ItemId),
    /// It was to begin after an item that is a dead letter.
    DeadItem(ItemId),
    /// Another item has its unique key.
    Duplicate {
        /// That item, which stands for it.
        of: ItemId,
    },
    /// The queue's own books do not agree, or one of its threads has panicked: nothing more is done.
    Inconsistent,
}
