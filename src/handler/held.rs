//! The deliveries that each thread got and has not settled, for `task_done` on the queue itself.
//!
//! They are kept per thread, so that no thread acknowledges another's item. When a thread ends,
//! what it took out of its deliveries and never acknowledged goes back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Kind;
use crate::payload::Payload;
use dishrack_core::ledger::{Cause, Outcome, Token};

/// The source of deliveries, which is told how each of them ended.
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

/// Gives back what is left in it when its thread ends.
#[derive(Default)]
struct Hands(VecDeque<Held>);

impl Hands {
    fn give_back(&mut self) {
        for held in self.0.drain(..) {
            // It is stale if the delivery was settled in another thread.
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
    /// True if this thread is a worker process's own. `exit` drops what is kept per thread, and the
    /// supervisor charges an item that an exit leaves behind, with the exit code.
    static ENDS_WITH_PROCESS: Cell<bool> = const { Cell::new(false) };
    /// The number of deliveries that this thread dropped in a panic.
    static PANICKED: Cell<usize> = const { Cell::new(0) };
    static HANDS: RefCell<Hands> = RefCell::default();
}

fn is_same(one: &Arc<dyn Acknowledger>, other: &dyn Acknowledger) -> bool {
    ptr::addr_eq(Arc::as_ptr(one), other)
}

pub(crate) fn note(from: Arc<dyn Acknowledger>, token: Token) {
    let held = Held {
        from,
        token,
        since: Instant::now(),
    };
    HANDS.with_borrow_mut(|hands| hands.0.push_back(held));
}

/// Forgets a delivery that is settled through its own methods.
pub(crate) fn forget(from: &dyn Acknowledger, token: Token) {
    // It fails only while the thread ends, and then everything is given back anyway.
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

/// Marks this thread as a worker process's own: it ends by [`give_back`], or with its process.
pub(crate) fn end_with_process() {
    ENDS_WITH_PROCESS.set(true);
}

/// Gives back what this thread's loop did not acknowledge before it returned.
pub(crate) fn give_back() {
    HANDS.with_borrow_mut(std::mem::take).give_back();
}

/// Counts a delivery that was dropped in a panic and so is charged to its item.
pub(crate) fn note_panic() {
    PANICKED.set(PANICKED.get() + 1);
}

/// Takes the number of items that this thread's panics were charged to since the last call.
pub(crate) fn take_panics() -> usize {
    PANICKED.take()
}

/// Charges what this thread's panicked loop took out of its deliveries and did not acknowledge. The
/// loop is run again, and its next `task_done` would acknowledge those undone.
pub(crate) fn charge_all() {
    let left = HANDS.with_borrow_mut(|hands| std::mem::take(&mut hands.0));
    for held in left {
        let cause = Cause::Panicked("the loop that held the item".into());
        // It is stale if the delivery was settled in another thread.
        if held.end(cause).is_ok() {
            note_panic();
        }
    }
}

/// Takes the oldest delivery that this thread got from there, and the time when it got it.
pub(crate) fn pop_oldest(from: &dyn Acknowledger) -> Option<(Token, Instant)> {
    HANDS.with_borrow_mut(|hands| {
        let at = hands.0.iter().position(|held| is_same(&held.from, from))?;
        let held = hands.0.remove(at)?;
        Some((held.token, held.since))
    })
}
