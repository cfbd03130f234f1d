//! The link to an async task, which is woken by tokio.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Sleeper;
use super::local::{LocalQueue, Signal, SignalLink};
use dishrack_core::ledger::Token;

/// The state that the two ends of a link share beside the queue.
#[derive(Debug, Default)]
struct SignalState {
    /// Told when there is something for a task that sleeps.
    arrived: Notify,
    /// Deliveries that were cancelled after they were begun, and that the task does not know of
    /// yet.
    revoked: Mutex<HashSet<Token>>,
    changed: Notify,
}

/// The signals, which the link and its task have. Credits bound what waits in the queue beside.
#[derive(Debug, Clone)]
pub(crate) struct TaskSignals(Arc<SignalState>);

/// Makes a link, the queue that its task takes from, and the signals to the task.
pub(crate) fn pair() -> (SignalLink<TaskSignals>, Arc<LocalQueue>, TaskSignals) {
    let queue = LocalQueue::new();
    let signals = TaskSignals(Arc::default());
    let link = SignalLink::new(Arc::clone(&queue), signals.clone());
    (link, queue, signals)
}

impl Sleeper for SignalState {
    fn wake(&self) {
        self.arrived.notify_one();
    }
}

impl Signal for TaskSignals {
    fn sleeper(&self) -> Arc<dyn Sleeper> {
        Arc::clone(&self.0) as Arc<dyn Sleeper>
    }

    fn revoke_begun(&self, token: Token) {
        self.0.revoked.lock().insert(token);
        self.0.changed.notify_one();
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
