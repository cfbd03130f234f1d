//! What a journal keeps: the changes that must outlive the supervisor, and what is left of them
//! when it begins again. Plain data.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{Cause, Failure, ItemId, Scene};

/// One change. An item's records come in the order of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<P> {
    /// The item was accepted.
    Accepted {
        /// Which item.
        id: ItemId,
        /// The item itself.
        payload: P,
    },
    /// An attempt failed.
    Failed {
        /// Which item.
        id: ItemId,
        /// Which attempt, and why.
        failure: Failure,
    },
    /// The item is done.
    Done {
        /// Which item.
        id: ItemId,
    },
    /// The item is a dead letter.
    Dead {
        /// Which item.
        id: ItemId,
        /// The item itself.
        payload: P,
    },
    /// An attempt is over. Kept until it is shown, where
    /// [`handle_keep_attempts`](super::Ledger::handle_keep_attempts) asks for that.
    Over {
        /// Which item.
        id: ItemId,
        /// The item itself, so that it can be named.
        payload: P,
        /// How the attempt ended.
        attempt: Attempt,
    },
    /// Somebody has shown how an attempt ended: it need not be kept any more.
    Shown {
        /// Which item.
        id: ItemId,
        /// Which attempt.
        attempt: u32,
    },
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number: 1 for the first; 0 where the item was given up on before any.
    pub number: u32,
    /// Why it failed; `None` if the item is done.
    pub cause: Option<Cause>,
    /// Whether the item has its end with it: it is done, or a dead letter.
    pub is_last: bool,
    /// Where and when.
    pub scene: Scene,
}

impl<P> Record<P> {
    /// Which item it is about.
    #[must_use]
    pub fn id(&self) -> ItemId {
        let (Record::Accepted { id, .. }
        | Record::Failed { id, .. }
        | Record::Done { id }
        | Record::Dead { id, .. }
        | Record::Over { id, .. }
        | Record::Shown { id, .. }) = self;
        *id
    }
}

/// Records that are made durable together, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write<P> {
    /// Counts the writes; to be given back to [`handle_written`](super::Ledger::handle_written).
    pub number: u64,
    /// In the order in which they came.
    pub records: Vec<Record<P>>,
}

/// An accepted item without a terminal state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished<P> {
    /// Which item.
    pub id: ItemId,
    /// The item itself.
    pub payload: P,
    /// Every failed attempt, oldest first.
    pub history: Vec<Failure>,
    /// How many of them do not count: it was a dead letter and is tried again.
    pub forgiven: u32,
}

/// What a journal knows when a supervisor begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered<P> {
    /// Items ever accepted: the number of the last one.
    pub accepted: u64,
    /// Of these, how many are dead letters.
    pub dead: u64,
    /// And which have no terminal state. All others are done.
    pub unfinished: Vec<Unfinished<P>>,
}

impl<P> Unfinished<P> {
    /// The same with another form of its item.
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
    /// The same with another form of its items.
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
