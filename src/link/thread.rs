//! The link to a worker thread of this process, which sleeps on its doorbell.

use std::sync::Arc;

use super::local::{LocalLink, LocalQueue};
use super::{Job, Link};
use crate::payload::Payload;
use dishrack_core::ledger::{Handed, Token};

/// The supervisor's end. Credits bound what waits in it.
#[derive(Debug)]
pub(crate) struct ThreadLink {
    local: LocalLink,
    queue: Arc<LocalQueue>,
}

/// Makes a link, and the queue that its worker takes from.
pub(crate) fn pair() -> (ThreadLink, Arc<LocalQueue>) {
    let queue = LocalQueue::new();
    let link = ThreadLink {
        local: LocalLink::new(Arc::clone(&queue)),
        queue: Arc::clone(&queue),
    };
    (link, queue)
}

impl ThreadLink {
    fn wake_if(&self, is_wanted: bool) {
        if is_wanted {
            self.queue.doorbell().wake();
        }
    }
}

impl Link for ThreadLink {
    fn deliver(&mut self, handed: &Handed, payload: &Payload, is_awaited: bool) {
        self.local.push(Job::new(handed, payload, is_awaited));
    }

    fn ask_to_stop(&mut self) {
        let is_wanted = self.local.ask_to_stop();
        self.wake_if(is_wanted);
    }

    /// A thread goes on to the end of what it has begun.
    fn revoke(&mut self, handed: &Handed) -> bool {
        self.local.revoke(handed)
    }

    fn recall(&mut self) -> Vec<Token> {
        self.local.recall()
    }

    fn flush(&mut self, may_poll: bool) -> Result<(), String> {
        let is_wanted = self.local.flush(may_poll);
        self.wake_if(is_wanted);
        Ok(())
    }

    fn handed(&self) -> u64 {
        self.local.handed()
    }
}
