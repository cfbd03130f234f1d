//! The link to no worker at all: the caller of `put` or `join` does the work.
//!
//! It holds at most one delivery, because its worker gets one at a time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Link, LocalDelivery};
use crate::payload::Payload;
use dishrack_core::ledger::{Handed, Token};

#[derive(Debug, Clone, Default)]
pub(crate) struct InlineJobs(Arc<Mutex<VecDeque<LocalDelivery>>>);

#[derive(Debug)]
pub(crate) struct InlineLink(InlineJobs);

pub(crate) fn pair() -> (InlineLink, InlineJobs) {
    let jobs = InlineJobs::default();
    (InlineLink(jobs.clone()), jobs)
}

impl InlineJobs {
    pub(crate) fn pop(&self) -> Option<LocalDelivery> {
        self.0.lock().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}

impl Link for InlineLink {
    fn deliver(&mut self, handed: &Handed, payload: &Payload, is_awaited: bool) {
        let job = LocalDelivery::new(handed, payload, is_awaited);
        self.0.0.lock().push_back(job);
    }

    fn ask_to_stop(&mut self) {}

    fn recall(&mut self) -> Vec<Token> {
        let jobs = std::mem::take(&mut *self.0.0.lock());
        jobs.into_iter().map(|job| job.token).collect()
    }
}
