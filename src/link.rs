//! How deliveries reach workers: the contract, and one file per link.
//!
//! A link carries deliveries to one worker and knows nothing of scheduling, attempts or stores.
//! What comes back (acknowledgements, requests) goes straight to the broker. `deliver` collects
//! and `flush` sends, so that a worker gets a batch in one go. No method may block: the broker
//! calls them with its lock held, and a worker that is stopped must stop nobody else.

pub(crate) mod frame;
pub(crate) mod inline;
pub(crate) mod process;
pub(crate) mod scoreboard;
#[cfg(feature = "tasks")]
pub(crate) mod task;
pub(crate) mod thread;

use std::fmt;
use std::sync::Arc;

use crate::ledger::{Handed, ItemId, Token};
use frame::Answer;

/// One delivery on its way to a worker in this process.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) token: Token,
    pub(crate) id: ItemId,
    pub(crate) attempt: u32,
    pub(crate) body: Arc<[u8]>,
}

impl Job {
    pub(crate) fn new(handed: &Handed, body: &Arc<[u8]>) -> Self {
        Job {
            token: handed.token,
            id: handed.id,
            attempt: handed.attempt,
            body: Arc::clone(body),
        }
    }
}

/// The supervisor's end of the way to one worker.
pub(crate) trait Link: Send + fmt::Debug {
    /// Adds a delivery to the batch. An error says why this item cannot be brought to a worker.
    fn deliver(&mut self, handed: &Handed, body: &Arc<[u8]>) -> Result<(), String>;

    /// Adds the answer to a worker's request. Only workers in other processes ask.
    fn answer(&mut self, _request: u64, _answer: Answer<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Asks the worker to finish what it has started, give the rest back and end.
    fn ask_to_stop(&mut self);

    /// A delivery was cancelled: if the worker did not begin it, it should not.
    fn revoke(&mut self, _handed: &Handed) {}

    /// Sends what was collected, as far as the link's window allows.
    fn flush(&mut self);

    /// The worker has read this many frames since it began.
    fn has_read(&mut self, _frames: u64) {}
}
