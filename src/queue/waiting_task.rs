//! An async task in a `get`.

use std::cell::Cell;
use std::task::Waker;

use crate::broker::{Broker, WakerKey};
use crate::error::Kind;
use crate::link::LocalDelivery;

/// The number of items after which a task lets the others of its thread go on. Where there is always a next
/// item it would keep the thread, and could not even be told to end.
const TURN: u32 = 64;

thread_local! {
    /// The items that tasks of this thread have asked for.
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

/// Takes itself off the list of waiters when it is dropped.
pub(super) struct WaitingTask<'a> {
    broker: &'a Broker,
    waiting: Option<WakerKey>,
    lets_others_go_on: bool,
}

impl<'a> WaitingTask<'a> {
    pub(super) fn new(broker: &'a Broker) -> Self {
        WaitingTask {
            broker,
            waiting: None,
            lets_others_go_on: is_turn_over(),
        }
    }

    pub(super) fn poll(&mut self, waker: &Waker) -> Option<Result<LocalDelivery, Kind>> {
        if std::mem::take(&mut self.lets_others_go_on) {
            waker.wake_by_ref();
            return None;
        }
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

fn is_turn_over() -> bool {
    let asked = ASKED.get().wrapping_add(1);
    ASKED.set(asked);
    asked.is_multiple_of(TURN)
}
