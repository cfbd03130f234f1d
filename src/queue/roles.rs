//! Worker processes with a loop of their own, which get the queue that they work for. The `worker`
//! module decides which process runs one.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::JoinableQueue;
use crate::worker::Roles;

impl Roles {
    /// Runs the chapter's loop: it gets items from the queue and says `task_done` itself, until
    /// `get` says that the queue is closed. From its first `get` on it is handed items ahead, which it
    /// has not begun before it gets them
    /// ([`without_prefetch`](crate::Builder::without_prefetch) turns that off).
    pub fn worker<T, F>(&mut self, worker: F)
    where
        F: Fn(JoinableQueue<T>) + Send + Sync + 'static,
        T: Serialize + DeserializeOwned + 'static,
    {
        self.add::<F>(Arc::new(move |session| {
            worker(JoinableQueue::of_session(Arc::clone(session)));
        }));
    }
}
