//! An async task in a `get`.

use std::task::Waker;

use crate::broker::{Broker, WakerKey};
use crate::error::Kind;
use crate::link::LocalDelivery;

/// Takes itself off the list of waiters when it is dropped.
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

    pub(super) fn poll(&mut self, waker: &Waker) -> Option<Result<LocalDelivery, Kind>> {
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
