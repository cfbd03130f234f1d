//! The session of this worker process, the one that the calling thread works in, and its present
//! item.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, OnceLock};

use super::session::Session;
use dishrack_core::ledger::ItemId;

thread_local! {
    static CURRENT: RefCell<Option<(Arc<Session>, &'static str)>> = const { RefCell::new(None) };
    static DELIVERY: Cell<Option<HandledDelivery>> = const { Cell::new(None) };
}

/// The item, the attempt and the copy that a handler works on, and its slot.
type HandledDelivery = (ItemId, u32, (u16, u16));

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

/// Returns the place of the worker process that this thread works in, in its pool: its number, from 1.
pub(crate) fn place() -> Option<u64> {
    CURRENT.with(|current| current.borrow().as_ref().map(|(session, _)| session.slot))
}

/// Notes that this thread's handler begins this copy of this attempt at this item, with this slot.
pub(super) fn begin(id: ItemId, attempt: u32, (copy, slot): (u16, u16)) {
    DELIVERY.with(|delivery| delivery.set(Some((id, attempt, (copy, slot)))));
}

/// Returns the item, the attempt, the copy and the slot that this thread's handler works on in a
/// worker process.
pub(crate) fn delivery() -> Option<HandledDelivery> {
    DELIVERY.with(Cell::get)
}

/// Returns the slot that the item of this thread's handler was lent, from 1, and that no other item
/// has meanwhile: see [`Builder::slots`](crate::Builder::slots). Returns `None` outside of a handler in
/// a worker process, and where there are no slots.
///
/// # Example
///
/// ```no_run
/// use dishrack::{JoinableQueue, Supervisor};
///
/// fn dry(dish: String) -> Result<(), String> {
///     let towel = dishrack::slot().ok_or("there is no towel")?;
///     println!("{dish} is dried with towel {towel}");
///     Ok(())
/// }
///
/// fn main() -> Result<(), dishrack::Error> {
///     dishrack::serve(|roles| roles.handler(dry));
///     let rack = JoinableQueue::unbounded();
///     let pool = Supervisor::builder().processes(8).slots(3).handler(&rack, dry)?;
///     rack.put("cup")?;
///     rack.join()?;
///     pool.stop();
///     Ok(())
/// }
/// ```
#[must_use]
pub fn slot() -> Option<u32> {
    let (_, _, (_, slot)) = delivery()?;
    (slot > 0).then_some(slot.into())
}
