//! The link to no worker at all: whoever puts or joins does the work.
//!
//! It holds at most one delivery, because its worker gets one at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Job, Link};
use crate::broker::Broker;
use crate::ledger::Handed;

#[derive(Debug, Clone, Default)]
pub(crate) struct InlineJobs(Arc<Mutex<VecDeque<Job>>>);

#[derive(Debug)]
pub(crate) struct InlineLink {
    jobs: InlineJobs,
    broker: Weak<Broker>,
}

impl InlineLink {
    pub(crate) fn new(broker: Weak<Broker>) -> (Self, InlineJobs) {
        let jobs = InlineJobs::default();
        let link = InlineLink {
            jobs: jobs.clone(),
            broker,
        };
        (link, jobs)
    }
}

impl InlineJobs {
    pub(crate) fn pop(&self) -> Option<Job> {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.pop_front()
    }
}

impl Link for InlineLink {
    fn deliver(&mut self, handed: &Handed, body: &Arc<[u8]>) -> Result<(), String> {
        let mut jobs = self.jobs.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.push_back(Job::new(handed, body));
        Ok(())
    }

    fn ask_to_stop(&mut self) {}

    /// A retry may come while everybody sleeps in `join`: somebody there must run it.
    fn flush(&mut self) {
        if let Some(broker) = self.broker.upgrade() {
            broker.wake_joiners();
        }
    }
}
