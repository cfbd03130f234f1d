//! The attempts that have ended, for whoever draws them: which holder has made them, and for how long. Nothing
//! is noted until somebody asks for it. The moment of an end is not known here where nothing depends on it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::time::Duration;

use super::{Ballot, Blame, Failure, Handed, HolderId, ItemId, Ledger, Weight};

/// The number of notes that are kept for a caller that does not come.
const NOTES_MAX: usize = 10_000;

/// Items that one holder has begun for the first time, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BegunItems {
    /// The item with the lowest number.
    pub first: ItemId,
    /// The item with the highest number.
    pub last: ItemId,
    /// The number of items; the other two mean nothing if it is zero.
    pub count: u64,
}

impl BegunItems {
    pub(super) const NONE: Self = BegunItems {
        first: ItemId(u64::MAX),
        last: ItemId(0),
        count: 0,
    };

    fn of(handed: &Handed) -> Self {
        let mut begun = BegunItems::NONE;
        begun.add(handed);
        begun
    }

    /// Adds the item of a delivery, unless it was begun before or is another copy.
    pub(super) fn add(&mut self, handed: &Handed) {
        if handed.attempt == 1 && handed.copy == 1 {
            self.first = self.first.min(handed.id);
            self.last = self.last.max(handed.id);
            self.count += 1;
        }
    }
}

/// Attempts of one holder that have ended together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedAttempts {
    /// The holder.
    pub holder: HolderId,
    /// The ordinal of the last delivery.
    pub ordinal: u64,
    /// The item with the lowest number.
    pub first: ItemId,
    /// The item with the highest number.
    pub last: ItemId,
    /// The number of attempts.
    pub count: u64,
    /// The number of the last attempt of its item.
    pub attempt: u32,
    /// The items of which these were the first attempts.
    pub begun: BegunItems,
    /// The mean time of one that is done. A failure knows its own times.
    pub service: Duration,
    /// The failure of a single attempt; `None` if all are done.
    pub failure: Option<Box<Failure>>,
}

impl EndedAttempts {
    fn of(handed: &Handed, service: Duration) -> Self {
        EndedAttempts {
            holder: handed.holder,
            ordinal: handed.ordinal,
            first: handed.id,
            last: handed.id,
            count: 1,
            attempt: handed.attempt,
            begun: BegunItems::of(handed),
            service,
            failure: None,
        }
    }
}

/// The notes of ends, if somebody wants them.
#[derive(Debug, Default)]
pub(super) struct EndNotes(Option<VecDeque<EndedAttempts>>);

impl EndNotes {
    /// Returns `true` if somebody wants them.
    pub(super) fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn note(&mut self, ended: impl FnOnce() -> EndedAttempts) {
        if let Some(notes) = &mut self.0 {
            if notes.len() == NOTES_MAX {
                notes.pop_front();
            }
            notes.push_back(ended());
        }
    }

    /// Notes a delivery that is done.
    pub(super) fn done(&mut self, handed: impl FnOnce() -> Handed, service: Duration) {
        self.note(|| EndedAttempts::of(&handed(), service));
    }

    /// Notes a delivery that has failed.
    pub(super) fn failed(&mut self, handed: &Handed, blame: &Blame) {
        self.note(|| EndedAttempts {
            failure: Some(Box::new(Failure::of(handed.attempt, blame.clone()))),
            ..EndedAttempts::of(handed, Duration::ZERO)
        });
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Notes the ends of attempts from now on, for [`poll_ended`](Self::poll_ended), or does so no more.
    pub fn handle_note_ends(&mut self, is_wanted: bool) {
        self.ends.0 = is_wanted.then(VecDeque::new);
    }

    /// Returns the next attempts that have ended. Of 10,000 that nobody has asked for the oldest are forgotten.
    pub fn poll_ended(&mut self) -> Option<EndedAttempts> {
        self.ends.0.as_mut()?.pop_front()
    }
}
