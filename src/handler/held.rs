//! What each thread got and has not settled, for `task_done` on the queue itself.
//!
//! Kept per thread, so that one thread never acknowledges another's item. When a thread ends, what
//! it took out of its deliveries and never acknowledged goes back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Kind;
use crate::payload::Payload;
use dishrack_core::ledger::{Cause, Outcome, Token};

/// Who handed deliveries out, and hears how each of them ended.
pub(crate) trait Acknowledger: fmt::Debug + Send + Sync {
    /// Ends a delivery.
    ///
    /// # Errors
    /// `Stale` where it was ended before.
    fn acknowledge(
        &self,
        token: Token,
        service: Duration,
        outcome: Outcome<Payload>,
    ) -> Result<(), Kind>;
}

struct Held {
    from: Arc<dyn Acknowledger>,
    token: Token,
    since: Instant,
}

impl Held {
    fn end(&self, cause: Cause) -> Result<(), Kind> {
        let outcome = Outcome::failed(cause);
        self.from
            .acknowledge(self.token, self.since.elapsed(), outcome)
    }
}

/// Gives back, when its thread ends, what is still in it.
#[derive(Default)]
struct Hands(VecDeque<Held>);

impl Hands {
    fn give_back(&mut self) {
        for held in self.0.drain(..) {
            // Stale where the delivery was settled in another thread.
            let _ = held.end(Cause::Dropped);
        }
    }
}

impl Drop for Hands {
    fn drop(&mut self) {
        if !ENDS_WITH_PROCESS.get() {
            self.give_back();
        }
    }
}

thread_local! {
    /// Whether this thread is a worker process's own: `exit` drops what is kept per thread, and
    /// what an item's exit leaves behind is for the supervisor to charge, with the exit code.
    static ENDS_WITH_PROCESS: Cell<bool> = const { Cell::new(false) };
    /// Deliveries that this thread dropped in a panic.
    static PANICKED: Cell<usize> = const { Cell::new(0) };
    static HANDS: RefCell<Hands> = RefCell::default();
}

fn is_same(one: &Arc<dyn Acknowledger>, other: &dyn Acknowledger) -> bool {
    ptr::addr_eq(Arc::as_ptr(one), other)
}

/// This thread got a delivery.
pub(crate) fn note(from: Arc<dyn Acknowledger>, token: Token) {
    let held = Held {
        from,
        token,
        since: Instant::now(),
    };
    HANDS.with_borrow_mut(|hands| hands.0.push_back(held));
}

/// A delivery is settled through its own methods.
pub(crate) fn forget(from: &dyn Acknowledger, token: Token) {
    // Fails only while the thread ends; then everything is given back anyway.
    let _ = HANDS.try_with(|hands| {
        let hands = &mut hands.borrow_mut().0;
        if let Some(at) = hands
            .iter()
            .position(|held| held.token == token && is_same(&held.from, from))
        {
            hands.remove(at);
        }
    });
}

/// This thread is a worker process's own: it ends by [`give_back`], or with its process.
pub(crate) fn end_with_process() {
    ENDS_WITH_PROCESS.set(true);
}

/// This thread's loop returned: what it did not acknowledge goes back.
pub(crate) fn give_back() {
    HANDS.with_borrow_mut(std::mem::take).give_back();
}

/// A delivery was dropped in a panic: it is charged to its item.
pub(crate) fn note_panic() {
    PANICKED.set(PANICKED.get() + 1);
}

/// How many items this thread's panics were charged to since the last call.
pub(crate) fn take_panics() -> usize {
    PANICKED.take()
}

/// This thread's loop panicked and is run again: what it took out of its deliveries and did not
/// acknowledge is charged too, or the next `task_done` would acknowledge it undone.
pub(crate) fn charge_all() {
    let left = HANDS.with_borrow_mut(|hands| std::mem::take(&mut hands.0));
    for held in left {
        let cause = Cause::Panicked("the loop that held the item".into());
        // Stale where the delivery was settled in another thread.
        if held.end(cause).is_ok() {
            note_panic();
        }
    }
}

/// The oldest delivery from there that this thread got, and since when.
pub(crate) fn pop_oldest(from: &dyn Acknowledger) -> Option<(Token, Instant)> {
    HANDS.with_borrow_mut(|hands| {
        let at = hands.0.iter().position(|held| is_same(&held.from, from))?;
        let held = hands.0.remove(at)?;
        Some((held.token, held.since))
    })
}
