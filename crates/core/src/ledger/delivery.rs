//! What names a delivery: its token for those who settle it, its ordinal for those who saw it begin.

use super::{HolderId, ItemId};

/// Proof of one delivery: whose it is, and which of his. A settled or lost delivery's token is
/// stale and is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    pub(super) holder: HolderId,
    pub(super) ordinal: u64,
}

impl Token {
    /// The token of this holder's delivery with this ordinal, if there is one.
    #[must_use]
    pub fn of(holder: HolderId, ordinal: u64) -> Self {
        Token { holder, ordinal }
    }

    /// The delivery's place among all to its holder.
    #[must_use]
    pub fn ordinal(self) -> u64 {
        self.ordinal
    }
}

/// One item handed to one holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// Who got it.
    pub holder: HolderId,
    /// What an acknowledgement must show.
    pub token: Token,
    /// Its place among all deliveries to this holder: 1, 2, 3 and so on.
    pub ordinal: u64,
    /// Which item.
    pub id: ItemId,
    /// Which attempt this is: 1 plus the number of failed ones.
    pub attempt: u32,
}

/// Which of its deliveries a holder had started when it went.
///
/// A handler runs one delivery at a time, so it names that one; a loop of `get` and `task_done`
/// may hold several, so it names the last one taken. Zero names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Started {
    /// The ordinal that a handler was running.
    pub current: u64,
    /// All ordinals up to this one had been taken by `get`.
    pub taken: u64,
}

/// What the memory of a worker said at its end of the deliveries that it had started. The worker wrote
/// it, so that any of it may be nonsense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastWords {
    /// What it had started.
    pub started: Started,
    /// The last ordinal that a handler had ever begun.
    pub begun: u64,
    /// Something else that it wrote made no sense.
    pub is_garbled: bool,
}

/// What is believed of a worker's last words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// What it had started.
    pub started: Started,
    /// Whether its words can be true.
    pub is_sound: bool,
}

impl Started {
    pub(super) fn includes(self, ordinal: u64, is_asked_for: bool) -> bool {
        match is_asked_for {
            true => ordinal <= self.taken,
            false => ordinal == self.current,
        }
    }
}
