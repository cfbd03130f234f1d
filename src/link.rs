//! How deliveries reach workers: the contract, and one file per link.
//!
//! A link carries deliveries to one worker and knows nothing of scheduling, attempts or stores.
//! What comes back (acknowledgements, requests) goes to the broker. `deliver` collects and `flush`
//! sends, so that a worker gets a batch in one go. No method may block: the broker calls them with
//! its lock held, and a worker that is stopped must stop nobody else.

pub(crate) mod inline;
pub(crate) mod process;
#[cfg(feature = "tasks")]
pub(crate) mod task;
pub(crate) mod thread;

use std::fmt;

use crate::payload::Payload;
use crate::protocol::frame::{Answer, Given};
use dishrack_core::ledger::{Handed, ItemId, Token};

/// One delivery on its way to a worker in this process.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) token: Token,
    pub(crate) id: ItemId,
    pub(crate) attempt: u32,
    pub(crate) body: Payload,
}

impl Job {
    pub(crate) fn new(handed: &Handed, payload: &Payload) -> Self {
        Job {
            token: handed.token,
            id: handed.id,
            attempt: handed.attempt,
            body: payload.clone(),
        }
    }
}

/// The supervisor's end of the way to one worker. Only workers in other processes ask, and need to
/// have large payloads in shared memory.
pub(crate) trait Link: Send + fmt::Debug {
    /// Adds a delivery to the batch. `is_awaited`: somebody waits for its result.
    fn deliver(&mut self, handed: &Handed, payload: &Payload, is_awaited: bool);

    /// Adds the answer to a worker's request.
    fn answer(&mut self, _request: u64, _answer: Answer<Given<'_>>) {}

    /// Adds an item as the answer to a worker's request.
    fn answer_item(&mut self, _request: u64, _handed: &Handed, _payload: &Payload) {}

    /// Asks the worker to finish what it has started, give the rest back and end.
    fn ask_to_stop(&mut self);

    /// A delivery was cancelled: if the worker did not begin it, it should not.
    fn revoke(&mut self, _handed: &Handed) {}

    /// The worker is at one item for long: what else it has goes to others.
    fn take_back(&mut self) {}

    /// Sends what was collected. `may_poll`: there are processors enough for the worker to look for
    /// more a little while before it sleeps. An error: this worker cannot be talked to any more.
    fn flush(&mut self, _may_poll: bool) -> Result<(), String> {
        Ok(())
    }

    /// What the worker wrote was read.
    fn has_made_room(&mut self) {}

    /// The worker still reads this delivery's payload, though it is settled.
    fn keep(&mut self, _ordinal: u64, _payload: Payload) {}

    /// It does not any more.
    fn release(&mut self, _ordinal: u64) {}

    /// The last delivery to a worker in another process, by its ordinal.
    fn handed(&self) -> u64 {
        u64::MAX
    }
}
