//! A ledger over a stream that several supervisors share: items come from there, with their
//! numbers, and may be taken away again.
//!
//! Its changes leave records as with a journal, for the stream. But puts do not pass through it: an
//! item is accepted here when it has come from the stream, where it is durable already.

use super::unfinished::UnfinishedItem;
use super::{Ballot, ItemId, Ledger, Options, Recovered, Report, Unfinished, Weight};

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Makes an empty ledger over a stream.
    #[must_use]
    pub fn share(options: Options) -> Self {
        Self::begin(options, Recovered::default(), true)
    }

    /// Adds an item that was taken from the stream and is not here already: it waits in the place
    /// that its number gives it.
    pub fn handle_arrival(&mut self, item: Unfinished<P>) {
        self.note_policy(&item.payload);
        self.waiting.arrive(UnfinishedItem::from(item));
    }
}

impl<P, R> Report<P, R> {
    /// Returns the number of the item that it is about.
    #[must_use]
    pub fn id(&self) -> ItemId {
        match self {
            Report::Done { handed, .. } => handed.id,
            Report::Retry { id, .. } => *id,
            Report::Copy(copy) => copy.handed.id,
            Report::Dead(letter) => letter.id,
        }
    }
}
