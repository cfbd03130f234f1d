//! The link to an async task: batches over tokio's channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Job, Link};
use crate::ledger::Handed;

/// The supervisor's end. Credits bound what waits in the channel.
#[derive(Debug)]
pub(crate) struct TaskLink {
    sender: Option<UnboundedSender<Job>>,
    is_stopping: Arc<AtomicBool>,
}

/// The task's end.
#[derive(Debug)]
pub(crate) struct TaskJobs {
    receiver: UnboundedReceiver<Job>,
    is_stopping: Arc<AtomicBool>,
}

pub(crate) fn pair() -> (TaskLink, TaskJobs) {
    let (sender, receiver) = unbounded_channel();
    let is_stopping = Arc::new(AtomicBool::new(false));
    let link = TaskLink {
        sender: Some(sender),
        is_stopping: Arc::clone(&is_stopping),
    };
    let jobs = TaskJobs {
        receiver,
        is_stopping,
    };
    (link, jobs)
}

impl Link for TaskLink {
    fn deliver(&mut self, handed: &Handed, body: &Arc<[u8]>) -> Result<(), String> {
        if let Some(sender) = &self.sender {
            // The task's end is dropped only after a stop, when nothing is delivered any more.
            let _ = sender.send(Job::new(handed, body));
        }
        Ok(())
    }

    fn ask_to_stop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.sender = None;
    }

    fn flush(&mut self) {}
}

impl TaskJobs {
    /// The next job, and whether it is only to be given back; `None` when there is no more.
    pub(crate) async fn next(&mut self) -> Option<(Job, bool)> {
        let job = self.receiver.recv().await?;
        Some((job, self.is_stopping.load(Ordering::Relaxed)))
    }
}
