//! What each thread got and has not settled, for `task_done` on the queue itself.
//!
//! Kept per thread, so that one thread never acknowledges another's item. When a thread ends, what
//! it took out of its deliveries and never acknowledged goes back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Ending, WakerKey};
use crate::error::Kind;
use crate::link::Job;
use crate::worker::copies;
use crate::worker::current::{self, Side};
use dishrack_core::ledger::{Cause, Token};

struct Held {
    side: Side,
    token: Token,
    since: Instant,
}

/// Gives back, when its thread ends, what is still in it.
#[derive(Default)]
struct Hands(VecDeque<Held>);

impl Hands {
    fn give_back(&mut self) {
        for held in self.0.drain(..) {
            let ending = Ending::Failed(Cause::Dropped);
            // Stale where the delivery was settled in another thread.
            let _ = settle(&held.side, held.token, held.since.elapsed(), ending);
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

fn is_same(one: &Side, other: &Side) -> bool {
    match (one, other) {
        (Side::Local(one), Side::Local(other)) => Arc::ptr_eq(one, other),
        (Side::Remote(one), Side::Remote(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

/// This thread got a delivery.
pub(super) fn note(side: &Side, token: Token) {
    let held = Held {
        side: side.clone(),
        token,
        since: Instant::now(),
    };
    HANDS.with_borrow_mut(|hands| hands.0.push_back(held));
}

/// A delivery is settled through its own methods.
pub(super) fn forget(side: &Side, token: Token) {
    // Fails only while the thread ends; then everything is given back anyway.
    let _ = HANDS.try_with(|hands| {
        let hands = &mut hands.borrow_mut().0;
        if let Some(at) = hands
            .iter()
            .position(|held| held.token == token && is_same(&held.side, side))
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
pub(super) fn note_panic() {
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
        if settle(
            &held.side,
            held.token,
            held.since.elapsed(),
            Ending::Failed(cause),
        )
        .is_ok()
        {
            note_panic();
        }
    }
}

/// The oldest delivery of this queue that this thread got, and since when.
pub(super) fn pop_oldest(side: &Side) -> Option<(Token, Instant)> {
    HANDS.with_borrow_mut(|hands| {
        let at = hands.0.iter().position(|held| is_same(&held.side, side))?;
        let held = hands.0.remove(at)?;
        Some((held.token, held.since))
    })
}

pub(super) fn settle(
    side: &Side,
    token: Token,
    service: Duration,
    ending: Ending,
) -> Result<(), Kind> {
    match side {
        Side::Local(broker) => {
            if current::holds(broker) {
                // A loop that was forked goes on with what its parent got.
                copies::end_copy();
            }
            broker.settle(token, service, ending)
        }
        Side::Remote(session) => match session.settle_now(token.ordinal(), service, ending) {
            true => Ok(()),
            false => Err(Kind::Stale),
        },
    }
}

/// An async task in a `get`: takes itself off the list of waiters when it is dropped.
pub(super) struct WaitingTask<'a> {
    broker: &'a Broker,
    waiting: Option<WakerKey>,
}

impl<'a> WaitingTask<'a> {
    pub(super) fn new(broker: &'a Broker) -> Self {
        WaitingTask {
            broker,
            waiting: None,
        }
    }

    pub(super) fn poll(&mut self, waker: &Waker) -> Option<Result<Job, Kind>> {
        self.broker.poll_get(&mut self.waiting, waker)
    }
}

impl Drop for WaitingTask<'_> {
    fn drop(&mut self) {
        if self.waiting.is_some() {
            self.broker.forget_waker(self.waiting.take());
        }
    }
}
