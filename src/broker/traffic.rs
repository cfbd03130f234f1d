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
    /// The receivers of results of items put here, by the number that their entries carry.
    pub(super) replies: HashMap<u64, ReplyTo>,
    next_reply: u64,
    /// Warnings that no observer has heard yet.
    pub(super) unheard: Vec<String>,
}

impl Traffic {
    /// Returns the number under which the stream is told of the receiver.
    pub(super) fn ticket_of(&mut self, reply: Option<ReplyTo>) -> Option<u64> {
        let reply = reply?;
        self.next_reply += 1;
        self.replies.insert(self.next_reply, reply);
        Some(self.next_reply)
    }

    /// Keeps a warning for an observer that comes later.
    pub(super) fn keep_unheard(&mut self, why: String) {
        self.unheard.push(why);
        self.unheard.truncate(UNHEARD_MAX);
    }
}
