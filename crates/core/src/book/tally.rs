//! The number of items and rows that a journal must have: written with every change and compared
//! when a supervisor begins again, so that a row which is missing altogether is noticed too.

use crate::ledger::{put_varint, take_varint};
use alloc::vec::Vec;

/// The sums that the rows of all tables must add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Items ever accepted.
    pub accepted: u64,
    /// Items that have left their batch: done, or a dead letter once.
    pub gone: u64,
    /// Dead letters that are there.
    pub dead: u64,
    /// Dead letters that are tried again.
    pub loose: u64,
    /// Failed attempts of items that are not done.
    pub failures: u64,
    /// Dead letters whose content was dropped.
    pub forgotten: u64,
    /// Prints of keys.
    pub prints: u64,
    /// Attempts that are over and not shown.
    pub unshown: u64,
    /// The forgotten dead letters whose numbers are kept.
    pub dropped: u64,
}

impl Tally {
    /// Returns the number of done items; `None` if the numbers contradict each other.
    #[must_use]
    pub fn done(&self) -> Option<u64> {
        let not_done = self.dead.checked_add(self.loose)?;
        self.gone.checked_sub(not_done.checked_add(self.forgotten)?)
    }

    /// Returns the number of items without a terminal state; `None` if the numbers do not agree.
    #[must_use]
    pub fn unfinished(&self) -> Option<u64> {
        self.accepted
            .checked_sub(self.gone)?
            .checked_add(self.loose)
    }

    fn numbers(&self) -> [u64; 9] {
        [
            self.accepted,
            self.gone,
            self.dead,
            self.loose,
            self.failures,
            self.forgotten,
            self.prints,
            self.unshown,
            self.dropped,
        ]
    }

    pub(super) fn into_body(self) -> Vec<u8> {
        let mut body = Vec::new();
        for number in self.numbers() {
            put_varint(&mut body, number);
        }
        body
    }

    /// Decodes a tally; `None` if the bytes are none.
    pub(super) fn of_body(mut body: &[u8]) -> Option<Self> {
        let mut next = || take_varint(&mut body);
        let mut tally = Tally {
            accepted: next()?,
            gone: next()?,
            dead: next()?,
            loose: next()?,
            failures: next()?,
            forgotten: next()?,
            prints: next()?,
            unshown: 0,
            dropped: 0,
        };
        // The first format kept no attempts, and the second no numbers of what was dropped.
        for later in [&mut tally.unshown, &mut tally.dropped] {
            if !body.is_empty() {
                *later = take_varint(&mut body)?;
            }
        }
        let adds_up = tally.done().is_some() && tally.unfinished().is_some();
        (body.is_empty() && adds_up && tally.dropped <= tally.forgotten).then_some(tally)
    }
}
