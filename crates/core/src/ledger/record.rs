//! The content of a journal: the changes that must outlive the supervisor, and the state that they
//! add up to when it begins again. Plain data.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{Cause, Failure, ItemId, ItemRun, Scene};

/// One change. An item's records come in the order of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<P> {
    /// The item was accepted.
    Accepted {
        /// The item's number.
        id: ItemId,
        /// The item itself.
        payload: P,
    },
    /// Small items were accepted one after the other: their bytes, copied.
    AcceptedRun {
        /// The first one's number.
        first: ItemId,
        /// The items.
        run: ItemRun,
    },
    /// An attempt failed.
    Failed {
        /// The item's number.
        id: ItemId,
        /// The attempt, and the cause of its failure.
        failure: Failure,
    },
    /// These items are done, which follow each other.
    Done {
        /// The first one's number.
        first: ItemId,
        /// The last one's number.
        last: ItemId,
    },
    /// The item is a dead letter.
    Dead {
        /// The item's number.
        id: ItemId,
        /// The item itself.
        payload: P,
    },
    /// An attempt is over. It is kept until it is shown, where
    /// [`handle_keep_attempts`](super::Ledger::handle_keep_attempts) asks for that.
    Over {
        /// The item's number.
        id: ItemId,
        /// The item itself, so that it can be named.
        payload: P,
        /// The attempt's end.
        attempt: Attempt,
    },
    /// The end of an attempt was shown and need not be kept any more.
    Shown {
        /// The item's number.
        id: ItemId,
        /// The attempt's number.
        attempt: u32,
    },
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number: 1 for the first; 0 where the item was given up on before any.
    pub number: u32,
    /// The cause of its failure; `None` if the item is done.
    pub cause: Option<Cause>,
    /// True if the item ended with it: it is done, or a dead letter.
    pub is_last: bool,
    /// The place and the time.
    pub scene: Scene,
}

impl<P> Record<P> {
    /// Makes the record that one item is done.
    #[must_use]
    pub fn done(id: ItemId) -> Self {
        Record::Done {
            first: id,
            last: id,
        }
    }

    /// Returns the numbers of the items that it is about.
    pub fn ids(&self) -> impl Iterator<Item = ItemId> + use<P> {
        let (first, last) = match self {
            Record::Accepted { id, .. }
            | Record::Failed { id, .. }
            | Record::Dead { id, .. }
            | Record::Over { id, .. }
            | Record::Shown { id, .. } => (*id, *id),
            Record::AcceptedRun { first, run } => (*first, run.last(*first)),
            Record::Done { first, last } => (*first, *last),
        };
        (first.0..=last.0).map(ItemId)
    }
}

/// Records that are made durable together, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write<P> {
    /// The number of the write, to be given back to
    /// [`handle_written`](super::Ledger::handle_written).
    pub number: u64,
    /// The records. Those of one item are in the order of its life.
    pub records: Vec<Record<P>>,
}

/// An accepted item without a terminal state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished<P> {
    /// The item's number.
    pub id: ItemId,
    /// The item itself.
    pub payload: P,
    /// Every failed attempt, oldest first.
    pub history: Vec<Failure>,
    /// The number of them that do not count, because it was a dead letter and is tried again.
    pub forgiven: u32,
}

/// The contents of a journal when a supervisor begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered<P> {
    /// The number of items ever accepted, which is the number of the last one.
    pub accepted: u64,
    /// The number of them that are dead letters.
    pub dead: u64,
    /// Those that have no terminal state. All others are done.
    pub unfinished: Vec<Unfinished<P>>,
}

impl<P> Unfinished<P> {
    /// Converts the payload.
    #[must_use]
    pub fn map_payload<Q>(self, form: impl FnOnce(P) -> Q) -> Unfinished<Q> {
        Unfinished {
            id: self.id,
            payload: form(self.payload),
            history: self.history,
            forgiven: self.forgiven,
        }
    }
}

impl<P> Recovered<P> {
    /// Converts the payloads.
    #[must_use]
    pub fn map_payloads<Q>(self, form: impl Fn(P) -> Q) -> Recovered<Q> {
        let unfinished = self.unfinished.into_iter();
        let unfinished = unfinished.map(|item| item.map_payload(&form));
        Recovered {
            accepted: self.accepted,
            dead: self.dead,
            unfinished: unfinished.collect(),
        }
    }
}

impl<P> Default for Recovered<P> {
    fn default() -> Self {
        Recovered {
            accepted: 0,
            dead: 0,
            unfinished: Vec::new(),
        }
    }
}
