//! One item there and its acknowledgement back, with both sides sleeping at once or polling before.

use super::{OwnEnds, Worker, receive};
use crate::item::{Item, Maker, touch};

/// A worker for round trips.
#[derive(Debug)]
pub(crate) struct Pair {
    worker: Worker<Item>,
    polls: bool,
}

impl Pair {
    pub(crate) fn start(polls: bool) -> Self {
        let worker = Worker::start(if polls { "polling" } else { "sleeping" });
        Pair { worker, polls }
    }

    pub(crate) fn put_and_join(&mut self, maker: &Maker) {
        self.worker.send(maker.make());
        let done = receive(&self.worker.acks, self.polls);
        assert_eq!(done, Some(1), "the worker has acknowledged the item");
        self.worker.outstanding -= 1;
    }

    pub(crate) fn stop(self) {
        self.worker.stop();
    }
}

pub(super) fn serve((items, acks): OwnEnds<Item>, polls: bool) {
    while let Some(item) = receive(&items, polls) {
        touch(&item.0);
        if acks.send(1).is_err() {
            return;
        }
    }
}
