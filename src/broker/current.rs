//! Which queue the calling thread of the supervisor's process works for, and whether it is to end.
//!
//! A handler may put new items on the queue it works for. While it does, it holds an item, so a
//! wait for room could be a wait for itself. What a worker process works for is known there
//! (`worker::current`).

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Broker;

thread_local! {
    static CURRENT: RefCell<Option<(Arc<Broker>, &'static str)>> = const { RefCell::new(None) };
}

/// This thread works for this queue of items of this type, from now on.
pub(crate) fn set(broker: Arc<Broker>, item_type: &'static str) {
    CURRENT.with(|current| *current.borrow_mut() = Some((broker, item_type)));
}

pub(crate) fn clear() {
    CURRENT.with(|current| *current.borrow_mut() = None);
}

/// The queue that this thread works for, and the type of its items.
pub(crate) fn get() -> Option<(Arc<Broker>, &'static str)> {
    CURRENT.with(|current| current.borrow().clone())
}

/// Whether this thread works on an item of this queue.
pub(crate) fn holds(broker: &Broker) -> bool {
    CURRENT.with(|current| match &*current.borrow() {
        Some((own, _)) => own.id == broker.id,
        None => false,
    })
}

thread_local! {
    static STOPPING: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// This thread runs a worker's own loop, which is to end when this becomes true: `get` then says
/// that the queue is closed.
pub(crate) fn end_when(is_stopping: Arc<AtomicBool>) {
    STOPPING.with(|stopping| *stopping.borrow_mut() = Some(is_stopping));
}

/// Whether this thread's loop is to end.
pub(crate) fn is_to_end() -> bool {
    STOPPING.with(|stopping| {
        let stopping = stopping.borrow();
        stopping
            .as_ref()
            .is_some_and(|flag| flag.load(Ordering::Acquire))
    })
}
