//! The name of a request, by which its answer finds the caller.

use crate::ledger::HolderId;

/// A request of a worker process, named by the number that the process gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The worker that asks.
    pub holder: HolderId,
    /// The worker's number for the request.
    pub number: u64,
}
