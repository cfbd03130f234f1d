//! The names of a delivery: its token, to settle it, and its ordinal, to say where a holder is.

use super::{HolderId, ItemId};

/// The proof of one delivery: its holder, and its place among that holder's. The token of a settled
/// or lost delivery is stale and is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    pub(super) holder: HolderId,
    pub(super) ordinal: u64,
}

impl Token {
    /// Returns the token of this holder's delivery with this ordinal, if there is one.
    #[must_use]
    pub fn of(holder: HolderId, ordinal: u64) -> Self {
        Token { holder, ordinal }
    }

    /// Returns its holder.
    #[must_use]
    pub fn holder(self) -> HolderId {
        self.holder
    }

    /// Returns the delivery's place among all to its holder.
    #[must_use]
    pub fn ordinal(self) -> u64 {
        self.ordinal
    }
}

/// One item handed to one holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// The holder that got it.
    pub holder: HolderId,
    /// The token that an acknowledgement must show.
    pub token: Token,
    /// Its place among all deliveries to this holder: 1, 2, 3 and so on.
    pub ordinal: u64,
    /// The item's number.
    pub id: ItemId,
    /// The number of this attempt: 1 plus the number of failed ones.
    pub attempt: u32,
    /// The number of this copy among those of the attempt: 1 for the first, and where there is one.
    pub copy: u32,
    /// The greatest number of copies of the attempt.
    pub of: u32,
    /// The slot that it was lent when it was handed out, from 1; 0 if there are none.
    pub slot: u32,
}

impl Handed {
    /// Returns `true` if other holders may have the same item at the same time.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.of > 1
    }
}

/// The deliveries that a holder had started when it left.
///
/// Deliveries are begun in their order. A handler runs one at a time; a loop of `get` and `task_done`
/// may hold several. Zero names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Started {
    /// The ordinal of the oldest delivery that it was at.
    pub current: u64,
    /// The ordinal up to which all had been begun.
    pub begun: u64,
}

/// The deliveries that a worker had started, by its memory at its end. The worker wrote it, so any
/// of it may be nonsense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastWords {
    /// The deliveries that it had started.
    pub started: Started,
    /// True if something else that it wrote made no sense.
    pub is_garbled: bool,
}

/// The part of a worker's last words that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// The deliveries that it had started.
    pub started: Started,
    /// True if its words can be true.
    pub is_sound: bool,
}

impl Started {
    /// Makes that of a holder that has begun its deliveries up to this one.
    #[must_use]
    pub fn up_to(ordinal: u64) -> Self {
        Started {
            current: 1,
            begun: ordinal,
        }
    }

    /// Makes that of a worker that is at this delivery, which is the last one that it has begun.
    #[must_use]
    pub fn at(ordinal: u64) -> Self {
        Started {
            current: ordinal,
            begun: ordinal,
        }
    }

    pub(super) fn includes(self, ordinal: u64) -> bool {
        self.current > 0 && (self.current..=self.begun).contains(&ordinal)
    }
}
