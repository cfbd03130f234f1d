//! The link to an async task, which is woken by tokio.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::local::{LocalLink, LocalQueue};
use super::{Job, Link};
use crate::payload::Payload;
use dishrack_core::ledger::{Handed, Token};

/// The state that the two ends of a link share beside the queue.
#[derive(Debug, Default)]
struct Signals {
    /// Told when there is something for a task that sleeps.
    arrived: Notify,
    /// Deliveries that were cancelled after they were begun, and that the task does not know of
    /// yet.
    revoked: Mutex<HashSet<Token>>,
    changed: Notify,
}

/// The supervisor's end. Credits bound what waits in it.
#[derive(Debug)]
pub(crate) struct TaskLink {
    local: LocalLink,
    signals: Arc<Signals>,
}

/// The task's end, beside the queue that it takes from.
#[derive(Debug)]
pub(crate) struct TaskSignals(Arc<Signals>);

/// Makes a link, the queue that its task takes from, and what wakes the task.
pub(crate) fn pair() -> (TaskLink, Arc<LocalQueue>, TaskSignals) {
    let queue = LocalQueue::new();
    let signals = Arc::<Signals>::default();
    let link = TaskLink {
        local: LocalLink::new(Arc::clone(&queue)),
        signals: Arc::clone(&signals),
    };
    (link, queue, TaskSignals(signals))
}

impl TaskLink {
    fn wake_if(&self, is_wanted: bool) {
        if is_wanted {
            self.signals.arrived.notify_one();
        }
    }
}

impl Link for TaskLink {
    fn deliver(&mut self, handed: &Handed, payload: &Payload, is_awaited: bool) {
        self.local.push(Job::new(handed, payload, is_awaited));
    }

    fn ask_to_stop(&mut self) {
        let is_wanted = self.local.ask_to_stop();
        self.wake_if(is_wanted);
    }

    fn revoke(&mut self, handed: &Handed) -> bool {
        if self.local.revoke(handed) {
            return true;
        }
        self.signals.revoked.lock().insert(handed.token);
        self.signals.changed.notify_one();
        false
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

impl TaskSignals {
    /// Waits until the doorbell of the queue is taken, which the caller has wanted.
    pub(crate) async fn arrived(&self) {
        self.0.arrived.notified().await;
    }

    pub(crate) async fn revoked(&self, token: Token) {
        while !self.forget(token) {
            self.0.changed.notified().await;
        }
    }

    /// Forgets a delivery that has ended. Returns `true` if it was cancelled meanwhile.
    pub(crate) fn forget(&self, token: Token) -> bool {
        self.0.revoked.lock().remove(&token)
    }
}
