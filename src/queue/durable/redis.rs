//! Queues on Redis. What is said to it is the backend's business.

use std::any::type_name;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::JoinableQueue;
use crate::error::Error;
use crate::store::redis::{RedisOptions, RedisStore};
use dishrack_core::ledger::Options;
use dishrack_core::stream::entry::Plain;

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
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
    /// `is_shared` and `is_setup` when the queue cannot be used: Redis cannot be reached, refuses the
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
    pub fn on_redis(place: &RedisOptions, options: Options) -> Result<Self, Error> {
        let layout = Box::new(Plain(type_name::<T>()));
        let stream = RedisStore::open(place, layout, options.capacity).map_err(Error)?;
        Self::over_stream(Arc::new(stream), options)
    }
}
