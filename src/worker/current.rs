//! Which queue the calling thread works for, and whether it holds one of its items.
//!
//! A handler may put new items on the queue it works for. While it does, it holds an item, so a
//! wait for room could be a wait for itself.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::session::Session;
use crate::broker::Broker;
use dishrack_core::ledger::ItemId;

/// The near end of a queue: in the supervisor's process, or in a worker's.
#[derive(Debug, Clone)]
pub(crate) enum Side {
    Local(Arc<Broker>),
    Remote(Arc<Session>),
}

thread_local! {
    static CURRENT: RefCell<Option<(Side, &'static str)>> = const { RefCell::new(None) };
}

/// This thread works for this queue of items of this type, from now on.
pub(crate) fn set(side: Side, item_type: &'static str) {
    CURRENT.with(|current| *current.borrow_mut() = Some((side, item_type)));
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

thread_local! {
    static DELIVERY: Cell<Option<(ItemId, u32)>> = const { Cell::new(None) };
}

/// This thread's handler begins this attempt at this item.
pub(super) fn begin(id: ItemId, attempt: u32) {
    DELIVERY.with(|delivery| delivery.set(Some((id, attempt))));
}

/// Which item this thread's handler works on, and which attempt it is; only in a worker process.
#[cfg(feature = "cli")]
pub(crate) fn delivery() -> Option<(ItemId, u32)> {
    DELIVERY.with(Cell::get)
}

/// The name of the worker process that this thread works in.
#[cfg(feature = "cli")]
pub(crate) fn worker_name() -> Option<String> {
    CURRENT.with(|current| match &*current.borrow() {
        Some((Side::Remote(session), _)) => Some(session.name().to_owned()),
        _ => None,
    })
}

pub(crate) fn clear() {
    CURRENT.with(|current| *current.borrow_mut() = None);
}

/// The queue that this thread works for, if its items are of this type.
pub(crate) fn get(item_type: &str) -> Option<Side> {
    CURRENT.with(|current| match &*current.borrow() {
        Some((side, name)) if *name == item_type => Some(side.clone()),
        _ => None,
    })
}

/// Whether this thread works on an item of this queue.
pub(crate) fn holds(broker: &Broker) -> bool {
    CURRENT.with(|current| match &*current.borrow() {
        Some((Side::Local(own), _)) => own.id == broker.id,
        _ => false,
    })
}
