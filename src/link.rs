//! The ways in which deliveries reach workers: the contract, and one file per link.
//!
//! A link carries deliveries to one worker and knows nothing of scheduling, attempts or stores.
//! Acknowledgements and requests go back to the broker. `deliver` collects and `flush` sends, so a
//! worker gets a batch in one go. No method may block, because the broker calls them with its lock
//! held and a stopped worker must not stop others.

pub(crate) mod inline;
pub(crate) mod local;
pub(crate) mod process;
pub(crate) mod stream;
#[cfg(feature = "tasks")]
pub(crate) mod task;
pub(crate) mod thread;

use std::fmt;
use std::sync::Arc;

use crate::payload::Payload;
use crate::protocol::frame::{Answer, Given};
use crate::protocol::peer_error::PeerError;
use dishrack_core::ledger::{Handed, ItemId, Token};

/// One delivery on its way to a worker in this process.
#[derive(Debug, Clone)]
pub(crate) struct LocalDelivery {
    pub(crate) token: Token,
    pub(crate) id: ItemId,
    pub(crate) attempt: u32,
    /// True if its outcome must be told: somebody waits for it, or observes single items.
    pub(crate) is_awaited: bool,
    pub(crate) body: Payload,
}

impl LocalDelivery {
    pub(crate) fn new(handed: &Handed, payload: &Payload, is_awaited: bool) -> Self {
        LocalDelivery {
            token: handed.token,
            id: handed.id,
            attempt: handed.attempt,
            is_awaited,
            body: payload.clone(),
        }
    }
}

/// A worker that sleeps until it is woken.
pub(crate) trait Sleeper: Send + Sync + fmt::Debug {
    /// Wakes it. Its doorbell must have been taken.
    fn wake(&self);
}

/// The supervisor's end of the way to one worker. Only workers in other processes send requests and
/// need large payloads in shared memory.
pub(crate) trait Link: Send + fmt::Debug {
    /// Adds a delivery to the batch. `is_awaited`: a caller waits for its result.
    fn deliver(&mut self, handed: &Handed, payload: &Payload, is_awaited: bool);

    fn answer(&mut self, _request: u64, _answer: Answer<Given<'_>>) {}

    /// Adds an item for a request. The last one is the answer, and `is_last`.
    fn answer_item(&mut self, _request: u64, _handed: &Handed, _payload: &Payload, _is_last: bool) {
    }

    /// Asks the worker to finish what it has started, give the rest back and end.
    fn ask_to_stop(&mut self);

    /// Tells the worker that a delivery was cancelled and should not be begun. Returns `true` if it
    /// was not begun, and is not with the worker any more.
    fn revoke(&mut self, _handed: &Handed) -> bool {
        false
    }

    /// Asks for what the worker has not begun, because its present item takes long.
    fn take_back(&mut self) {}

    /// Takes back at once what the worker has not begun, where that can be done without asking it.
    fn recall(&mut self) -> Vec<Token> {
        Vec::new()
    }

    /// Sends the batch. `may_poll` is true if there are processors enough for the worker to poll a
    /// little before it sleeps. Returns the worker if it sleeps, for the caller to wake it. An error
    /// means that the worker cannot be reached any more.
    fn flush(&mut self, _may_poll: bool) -> Result<Option<Arc<dyn Sleeper>>, PeerError> {
        Ok(None)
    }

    /// Tells the worker that its records were read, so there is room.
    fn has_made_room(&mut self) {}

    /// Keeps the payload of a settled delivery, because the worker still reads it.
    fn keep(&mut self, _ordinal: u64, _payload: Payload) {}

    /// Releases that payload.
    fn release(&mut self, _ordinal: u64) {}

    /// Returns the greatest size in bytes of an item that can be brought to the worker.
    fn body_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Returns the ordinal of the last delivery.
    fn handed(&self) -> u64 {
        u64::MAX
    }
}
