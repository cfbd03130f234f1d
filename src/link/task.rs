//! The link to an async task: batches over tokio's channel.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Job, Link};
use crate::payload::Payload;
use dishrack_core::ledger::{Handed, Token};

/// Cancelled deliveries that the task does not know of yet.
#[derive(Debug, Default)]
struct Revoked {
    tokens: Mutex<HashSet<Token>>,
    changed: Notify,
}

impl Revoked {
    fn take(&self, token: Token) -> bool {
        let mut tokens = self.tokens.lock();
        tokens.remove(&token)
    }
}

/// The supervisor's end. Credits bound what waits in the channel.
#[derive(Debug)]
pub(crate) struct TaskLink {
    sender: Option<UnboundedSender<Job>>,
    is_stopping: Arc<AtomicBool>,
    revoked: Arc<Revoked>,
}

/// The task's end.
#[derive(Debug)]
pub(crate) struct TaskJobs {
    receiver: UnboundedReceiver<Job>,
    is_stopping: Arc<AtomicBool>,
    revoked: Arc<Revoked>,
}

pub(crate) fn pair() -> (TaskLink, TaskJobs) {
    let (sender, receiver) = unbounded_channel();
    let is_stopping = Arc::new(AtomicBool::new(false));
    let revoked = Arc::<Revoked>::default();
    let link = TaskLink {
        sender: Some(sender),
        is_stopping: Arc::clone(&is_stopping),
        revoked: Arc::clone(&revoked),
    };
    let jobs = TaskJobs {
        receiver,
        is_stopping,
        revoked,
    };
    (link, jobs)
}

impl Link for TaskLink {
    fn deliver(&mut self, handed: &Handed, payload: &Payload, _is_awaited: bool) {
        if let Some(sender) = &self.sender {
            // The task drops its end only after a stop, when nothing is delivered any more.
            let _ = sender.send(Job::new(handed, payload));
        }
    }

    fn revoke(&mut self, handed: &Handed) {
        self.revoked.tokens.lock().insert(handed.token);
        self.revoked.changed.notify_one();
    }

    fn ask_to_stop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.sender = None;
    }
}

impl TaskJobs {
    /// Returns the next job, and `true` if it must only be given back; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<(Job, bool)> {
        let job = self.receiver.recv().await?;
        Some((job, self.is_stopping.load(Ordering::Relaxed)))
    }

    pub(crate) async fn revoked(&self, token: Token) {
        while !self.revoked.take(token) {
            self.revoked.changed.notified().await;
        }
    }

    /// Forgets a delivery that has ended, cancelled or not.
    pub(crate) fn forget(&self, token: Token) {
        self.revoked.take(token);
    }
}
