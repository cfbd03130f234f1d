//! The place of the conformance suite's queues: each in a stream of its own, on one server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use dishrack::{Capacity, JoinableQueue, Options, RedisOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::redis_server::Server;

/// The server of all of them.
static SERVER: Mutex<Option<Server>> = Mutex::new(None);

/// Ends the server after all tests.
pub(crate) fn end() {
    let server = SERVER.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(server);
}

/// Returns the options of a new stream.
fn stream() -> RedisOptions {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut server = SERVER.lock().unwrap();
    let url = server.get_or_insert_with(Server::plain).url();
    RedisOptions::new(url, format!("conformance-{number}"))
}

pub(crate) fn queue<T: Serialize + DeserializeOwned>(options: Options) -> JoinableQueue<T> {
    JoinableQueue::shared(&stream(), options).unwrap()
}

/// True if single items may have choices of their own (`put_with`).
pub(crate) const KEEPS_CHOICES: bool = false;

/// Checks that Redis refuses such a queue.
pub(crate) fn rendezvous<T: Serialize + DeserializeOwned>() -> Option<JoinableQueue<T>> {
    let options = Options::default().capacity(Capacity::Rendezvous);
    let error = JoinableQueue::<T>::shared(&stream(), options).unwrap_err();
    assert!(error.to_string().contains("rendezvous"), "{error}");
    None
}
