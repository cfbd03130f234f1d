//! The answers of a queue to a put of many items. They do not know what the items are.

use crate::error::Kind;
use dishrack_core::ledger::ItemId;

/// Items that were accepted one after another, with consecutive numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) first: ItemId,
    pub(crate) last: ItemId,
}

impl Accepted {
    /// Returns the number of the items.
    pub(crate) fn count(self) -> u64 {
        self.last.0 + 1 - self.first.0
    }
}

/// The answer to the next items that were put, in their order; with the item, for who has it.
#[derive(Debug)]
pub(crate) enum PutAnswer<Item = ()> {
    Accepted(Accepted),
    /// This many items are on their way to a stream.
    Sent(u64),
    /// One item alone is refused, for this reason.
    Refused(Item, Kind),
}

/// The number of a put that a stream has not answered yet; an error if the stream is not told of
/// it.
pub(crate) type PutTicket = Result<u64, Kind>;
