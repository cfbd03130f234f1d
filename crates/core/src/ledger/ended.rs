//! The attempts that have ended, for whoever draws them: which holder has made them, and for how long. Nothing
//! is noted until somebody asks for it. The moment of an end is not known here where nothing depends on it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Ballot, Blame, Failure, Handed, HolderId, ItemId, Ledger, Weight};

/// The number of notes that are kept for a caller that does not come.
const NOTES_MAX: usize = 10_000;

/// The form in which the items are told that were begun by attempts that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BegunNaming {
    /// Those of first attempts together, because they were put in the order of their numbers.
    Together,
    /// Each by its number.
    Singly,
}

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
    const NONE: Self = BegunItems {
        first: ItemId(u64::MAX),
        last: ItemId(0),
        count: 0,
    };

    fn add(&mut self, id: ItemId) {
        self.first = self.first.min(id);
        self.last = self.last.max(id);
        self.count += 1;
    }
}

/// The items that were begun by attempts.
#[derive(Debug)]
pub(super) struct BegunNames {
    naming: BegunNaming,
    pub(super) together: BegunItems,
    pub(super) singly: Vec<ItemId>,
}

impl BegunNames {
    pub(super) fn new(naming: BegunNaming) -> Self {
        BegunNames {
            naming,
            together: BegunItems::NONE,
            singly: Vec::new(),
        }
    }

    /// Adds the item of a delivery, unless that is another copy.
    pub(super) fn add(&mut self, handed: &Handed) {
        match (handed.copy, handed.attempt, self.naming) {
            (1, 1, BegunNaming::Together) => self.together.add(handed.id),
            (1, ..) => self.singly.push(handed.id),
            _ => {}
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
    /// The items of which these were the first attempts, where they are told together.
    pub begun: BegunItems,
    /// The items of the other attempts.
    pub begun_singly: Vec<ItemId>,
    /// The mean time of one that is done. A failure knows its own times.
    pub service: Duration,
    /// The failure of a single attempt; `None` if all are done.
    pub failure: Option<Box<Failure>>,
}

/// A note about attempts, in the order in which that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndNote {
    /// They have ended.
    Ended(EndedAttempts),
    /// An item is tried again.
    Again {
        /// The item.
        id: ItemId,
        /// The time at which its last attempt ended, since 1970 (UTC); zero if that is not known.
        ended: Duration,
        /// The time for which it rests after that.
        rest: Duration,
    },
}

impl EndedAttempts {
    fn of(handed: &Handed, service: Duration, naming: BegunNaming) -> Self {
        let mut begun = BegunNames::new(naming);
        begun.add(handed);
        EndedAttempts {
            holder: handed.holder,
            ordinal: handed.ordinal,
            first: handed.id,
            last: handed.id,
            count: 1,
            attempt: handed.attempt,
            begun: begun.together,
            begun_singly: begun.singly,
            service,
            failure: None,
        }
    }
}

/// The notes of ends, if somebody wants them, and how their items are named.
#[derive(Debug, Default)]
pub(super) struct EndNotes(Option<(BegunNaming, VecDeque<EndNote>)>);

impl EndNotes {
    /// Returns how items are named, if somebody wants the notes.
    pub(super) fn wanted(&self) -> Option<BegunNaming> {
        self.0.as_ref().map(|(naming, _)| *naming)
    }

    pub(super) fn note(&mut self, ended: impl FnOnce(BegunNaming) -> EndedAttempts) {
        self.add(|naming| EndNote::Ended(ended(naming)));
    }

    /// Notes that an item is tried again after so long a rest.
    pub(super) fn again(&mut self, id: ItemId, failure: &Failure, rest: Duration) {
        let ended = failure.scene.ended;
        self.add(|_| EndNote::Again { id, ended, rest });
    }

    fn add(&mut self, note: impl FnOnce(BegunNaming) -> EndNote) {
        if let Some((naming, notes)) = &mut self.0 {
            if notes.len() == NOTES_MAX {
                notes.pop_front();
            }
            notes.push_back(note(*naming));
        }
    }

    /// Notes a delivery that is done.
    pub(super) fn done(&mut self, handed: impl FnOnce() -> Handed, service: Duration) {
        self.note(|naming| EndedAttempts::of(&handed(), service, naming));
    }

    /// Notes a delivery that has failed.
    pub(super) fn failed(&mut self, handed: &Handed, blame: &Blame) {
        self.note(|naming| EndedAttempts {
            failure: Some(Box::new(Failure::of(handed.attempt, blame.clone()))),
            ..EndedAttempts::of(handed, Duration::ZERO, naming)
        });
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Notes the ends of attempts from now on, for [`poll_end_note`](Self::poll_end_note), and names items in this
    /// way; or does so no more.
    pub fn handle_note_ends(&mut self, wanted: Option<BegunNaming>) {
        self.ends.0 = wanted.map(|naming| (naming, VecDeque::new()));
    }

    /// Returns the next note. Of 10,000 that nobody has asked for the oldest are forgotten.
    pub fn poll_end_note(&mut self) -> Option<EndNote> {
        let (_, notes) = self.ends.0.as_mut()?;
        notes.pop_front()
    }
}
