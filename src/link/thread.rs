//! The link to a worker thread of this process: batches over a channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{Job, Link};
use crate::payload::Payload;
use dishrack_core::ledger::Handed;

/// The supervisor's end. Credits bound what waits in the channel.
#[derive(Debug)]
pub(crate) struct ThreadLink {
    batch: Vec<Job>,
    sender: Option<Sender<Vec<Job>>>,
    is_stopping: Arc<AtomicBool>,
}

/// The worker's end.
#[derive(Debug)]
pub(crate) struct ThreadJobs {
    receiver: Receiver<Vec<Job>>,
    is_stopping: Arc<AtomicBool>,
}

pub(crate) fn pair() -> (ThreadLink, ThreadJobs) {
    let (sender, receiver) = unbounded();
    let is_stopping = Arc::new(AtomicBool::new(false));
    let link = ThreadLink {
        batch: Vec::new(),
        sender: Some(sender),
        is_stopping: Arc::clone(&is_stopping),
    };
    let jobs = ThreadJobs {
        receiver,
        is_stopping,
    };
    (link, jobs)
}

impl Link for ThreadLink {
    fn deliver(&mut self, handed: &Handed, payload: &Payload, _is_awaited: bool) {
        self.batch.push(Job::new(handed, payload));
    }

    fn ask_to_stop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        // It never fails.
        let _ = self.flush(false);
        self.sender = None;
    }

    fn flush(&mut self, _may_poll: bool) -> Result<(), String> {
        if let Some(sender) = &self.sender
            && !self.batch.is_empty()
        {
            // The worker drops its end only after a stop, when nothing is delivered any more.
            let _ = sender.send(std::mem::take(&mut self.batch));
        }
        Ok(())
    }
}

impl ThreadJobs {
    /// Runs each job; after a stop the rest goes to `give_back`.
    pub(crate) fn run(self, mut run: impl FnMut(Job), mut give_back: impl FnMut(Job)) {
        for job in self.receiver.iter().flatten() {
            if self.is_stopping.load(Ordering::Relaxed) {
                give_back(job);
            } else {
                run(job);
            }
        }
    }
}
