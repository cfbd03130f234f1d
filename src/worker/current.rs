//! The session of this worker process, the one that the calling thread works in, and its present
//! item.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, OnceLock};

use super::session::Session;
use dishrack_core::ledger::ItemId;

thread_local! {
    static CURRENT: RefCell<Option<(Arc<Session>, &'static str)>> = const { RefCell::new(None) };
    static DELIVERY: Cell<Option<(ItemId, u32, u16)>> = const { Cell::new(None) };
}

static SESSION: OnceLock<Arc<Session>> = OnceLock::new();

/// Sets the session of this process. It is called once, when this process becomes a worker.
pub(super) fn enter(session: &Arc<Session>) {
    // A process becomes a worker only once.
    let _ = SESSION.set(Arc::clone(session));
}

/// Returns the session of this process, if it is a worker.
pub(crate) fn session() -> Option<&'static Arc<Session>> {
    SESSION.get()
}

/// Sets the session that this thread works in from now on, and the type of its items.
pub(super) fn set(session: Arc<Session>, item_type: &'static str) {
    CURRENT.with(|current| *current.borrow_mut() = Some((session, item_type)));
}

/// Returns the session that this thread works in, if its items are of this type.
pub(crate) fn get(item_type: &str) -> Option<Arc<Session>> {
    CURRENT.with(|current| match &*current.borrow() {
        Some((session, name)) if *name == item_type => Some(Arc::clone(session)),
        _ => None,
    })
}

/// Returns the slot of the worker process that this thread works in: its number, from 1.
pub(crate) fn slot() -> Option<u64> {
    CURRENT.with(|current| current.borrow().as_ref().map(|(session, _)| session.slot))
}

/// Notes that this thread's handler begins this copy of this attempt at this item.
pub(super) fn begin(id: ItemId, attempt: u32, copy: u16) {
    DELIVERY.with(|delivery| delivery.set(Some((id, attempt, copy))));
}

/// Returns the item, the attempt and the copy that this thread's handler works on in a worker
/// process.
pub(crate) fn delivery() -> Option<(ItemId, u32, u16)> {
    DELIVERY.with(Cell::get)
}
