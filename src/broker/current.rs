//! The queue that the calling thread of the supervisor's process works for, and whether the thread
//! is to end.
//!
//! A handler may put new items on the queue it works for. While it does, it holds an item, so a
//! wait for room could be a wait for itself. For worker processes, `worker::current` knows the
//! queue.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Broker;

thread_local! {
    static CURRENT: RefCell<Option<(Arc<Broker>, &'static str)>> = const { RefCell::new(None) };
}

/// Sets the queue, and the type of its items, that this thread works for from now on.
pub(crate) fn set(broker: Arc<Broker>, item_type: &'static str) {
    CURRENT.with(|current| *current.borrow_mut() = Some((broker, item_type)));
}

pub(crate) fn clear() {
    CURRENT.with(|current| *current.borrow_mut() = None);
}

/// Returns the queue that this thread works for, and the type of its items.
pub(crate) fn get() -> Option<(Arc<Broker>, &'static str)> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Returns `true` if this thread works on an item of this queue.
pub(crate) fn holds(broker: &Broker) -> bool {
    CURRENT.with(|current| match &*current.borrow() {
        Some((own, _)) => own.id == broker.id,
        None => false,
    })
}

thread_local! {
    static STOPPING: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Lets `get` say that the queue is closed once this becomes true. It is for a thread that runs a
/// worker's own loop.
pub(crate) fn end_when(is_stopping: Arc<AtomicBool>) {
    STOPPING.with(|stopping| *stopping.borrow_mut() = Some(is_stopping));
}

pub(crate) fn is_to_end() -> bool {
    STOPPING.with(|stopping| {
        let stopping = stopping.borrow();
        stopping
            .as_ref()
            .is_some_and(|flag| flag.load(Ordering::Acquire))
    })
}
