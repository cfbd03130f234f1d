//! The next item, as it was found. It does not know how.

use super::level::Offer;
use super::rank::LineId;
use crate::ledger::ItemId;

/// The next item, and where it is.
#[derive(Debug, Clone, Copy)]
pub(in crate::ledger) struct Front {
    pub(super) id: u64,
    pub(super) line: LineId,
    pub(super) level: u16,
    pub(super) place: FrontPlace,
}

/// The place of the next item: in the list of its priority, in its line in the row, or among those that
/// came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrontPlace {
    New,
    PassedBy,
    Returned,
}

impl Front {
    /// Makes that of a new item.
    pub(super) fn new(level: u16, (id, line): Offer) -> Self {
        Front {
            id,
            line,
            level,
            place: FrontPlace::New,
        }
    }

    pub(in crate::ledger) fn id(self) -> ItemId {
        ItemId(self.id)
    }

    /// Returns `true` if it is among the items that came back.
    pub(super) fn is_returned(self) -> bool {
        self.place == FrontPlace::Returned
    }
}
