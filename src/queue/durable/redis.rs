//! Queues on Redis. The backend decides how Redis is used.

use std::any::type_name;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::JoinableQueue;
use crate::broker::NONE_ON_A_STREAM;
use crate::error::{Error, Kind};
use crate::store::redis::{RedisOptions, RedisStore};
use dishrack_core::ledger::Options;
use dishrack_core::stream::entry::Plain;

impl<T: Serialize + DeserializeOwned> JoinableQueue<T> {
    /// Makes a queue that supervisors on many machines share: its items are in a Redis stream. An
    /// item put anywhere goes to any supervisor with a free worker, and `join` waits until all
    /// items have an end. When a supervisor dies, or is cut off, its items go to others after the
    /// time of a lease.
    ///
    /// `put` returns when Redis has accepted the item; how safe it is then depends on the settings
    /// of Redis. The bound of the options counts items that no supervisor has taken. `close` is for
    /// this process alone, and `cancel` for the items that it holds. A rendezvous is not possible,
    /// because no supervisor knows which workers are idle elsewhere. See `docs/redis.md`.
    ///
    /// # Errors
    /// `is_shared` and `is_setup` when the queue cannot be used: Redis cannot be reached, refuses
    /// the user, or the key holds something else. The message says which, and what to do.
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
        if options.copies.is_some() {
            return Err(Error(Kind::invalid("copies", NONE_ON_A_STREAM)));
        }
        let layout = Box::new(Plain(type_name::<T>()));
        let stream = RedisStore::open(place, layout, options.capacity).map_err(Error)?;
        Self::over_stream(Arc::new(stream), options)
    }
}
