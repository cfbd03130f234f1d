//! What a journal keeps: the changes that must outlive the supervisor, and what is left of them
//! when it begins again. Plain data.

use super::{Failure, ItemId};

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
}

impl<P> Record<P> {
    /// Which item it is about.
    #[must_use]
    pub fn id(&self) -> ItemId {
        let (Record::Accepted { id, .. }
        | Record::Failed { id, .. }
        | Record::Done { id }
        | Record::Dead { id, .. }) = self;
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
