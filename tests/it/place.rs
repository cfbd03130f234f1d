//! The place of the conformance suite's queues: this process.

use dishrack::{JoinableQueue, Options};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn queue<T: Serialize + DeserializeOwned>(options: Options) -> JoinableQueue<T> {
    JoinableQueue::with(options)
}

/// True if single items may have choices of their own (`put_with`).
pub(crate) const KEEPS_CHOICES: bool = true;

/// Makes a queue that takes an item only when a worker is there for it, if it is possible.
pub(crate) fn rendezvous<T: Serialize + DeserializeOwned>() -> Option<JoinableQueue<T>> {
    Some(JoinableQueue::rendezvous())
}
