//! The link to no worker at all: the caller of `put` or `join` does the work.
//!
//! It holds at most one delivery, because its worker gets one at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Job, Link};
use crate::payload::Payload;
use dishrack_core::ledger::Handed;

#[derive(Debug, Clone, Default)]
pub(crate) struct InlineJobs(Arc<Mutex<VecDeque<Job>>>);

#[derive(Debug)]
pub(crate) struct InlineLink(InlineJobs);

pub(crate) fn pair() -> (InlineLink, InlineJobs) {
    let jobs = InlineJobs::default();
    (InlineLink(jobs.clone()), jobs)
}

impl InlineJobs {
    pub(crate) fn pop(&self) -> Option<Job> {
        self.0.lock().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl Link for InlineLink {
    fn deliver(&mut self, handed: &Handed, payload: &Payload, _is_awaited: bool) {
        self.0.0.lock().push_back(Job::new(handed, payload));
    }

    fn ask_to_stop(&mut self) {}
}
