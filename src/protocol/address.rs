//! The address by which other processes find a queue. It does not know the way there.

use serde::{Deserialize, Serialize};

/// A process, so that no other one is taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Home {
    pub(crate) pid: u32,
    /// A number that a later process of this pid does not have.
    pub(crate) nonce: u64,
}

/// A queue, and the process that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct QueueAddress {
    pub(crate) home: Home,
    /// The queue's number there.
    pub(crate) queue: u64,
}
