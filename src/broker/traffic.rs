//! The state that the threads of a stream share under the lock. It does not know what they do.

use std::collections::HashMap;

use crate::payload::envelope::ReplyTo;
use crate::store::stream::Sent;

/// The greatest number of warnings kept for an observer that comes later.
const UNHEARD_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// True if the queue is no longer used and all threads must end.
    pub(super) is_leaving: bool,
    /// Results of items, for the next write.
    pub(super) sent: Vec<Sent>,
    /// True if the stream wants the result of every item.
    pub(super) wants_results: bool,
    /// The receivers of results of items put here, by the tickets of the puts, which their entries carry.
    pub(super) replies: HashMap<u64, ReplyTo>,
    /// Warnings that no observer has heard yet.
    pub(super) unheard: Vec<String>,
}

impl Traffic {
    /// Keeps a warning for an observer that comes later.
    pub(super) fn keep_unheard(&mut self, why: String) {
        self.unheard.push(why);
        self.unheard.truncate(UNHEARD_MAX);
    }
}
