//! The link to a worker thread of this process, which sleeps on its doorbell.

use std::sync::Arc;

use super::Sleeper;
use super::local::{LocalQueue, Signal, SignalLink};

/// The thread sleeps on the doorbell of its queue, and goes on to the end of what it has begun.
#[derive(Debug)]
pub(crate) struct ThreadSignal(Arc<LocalQueue>);

/// Makes a link, and the queue that its worker takes from.
pub(crate) fn pair() -> (SignalLink<ThreadSignal>, Arc<LocalQueue>) {
    let queue = LocalQueue::new();
    let signal = ThreadSignal(Arc::clone(&queue));
    (SignalLink::new(Arc::clone(&queue), signal), queue)
}

impl Sleeper for LocalQueue {
    fn wake(&self) {
        self.doorbell().wake();
    }
}

impl Signal for ThreadSignal {
    fn sleeper(&self) -> Arc<dyn Sleeper> {
        Arc::clone(&self.0) as Arc<dyn Sleeper>
    }
}
