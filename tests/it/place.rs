//! Where the queues of the conformance suite are: in this process.

use dishrack::{JoinableQueue, Options};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) fn queue<T: Serialize + DeserializeOwned>(options: Options) -> JoinableQueue<T> {
    JoinableQueue::with(options)
}

/// One that takes an item only when somebody is there for it, where there can be one.
pub(crate) fn rendezvous<T: Serialize + DeserializeOwned>() -> Option<JoinableQueue<T>> {
    Some(JoinableQueue::rendezvous())
}
