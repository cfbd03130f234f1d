//! What a run of the command line asks of its queue and tells those who observe it. What a run is, this
//! does not know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::JoinableQueue;
use crate::error::Error;
use crate::observe::{EventKind, Observer};
use dishrack_core::ledger::{Counts, ItemId};

impl<T> JoinableQueue<T> {
    /// Tells whoever observes the queue.
    pub(crate) fn emit(&self, kind: EventKind) -> Result<(), Error> {
        self.broker()?.read(|core| core.emitter.emit(kind));
        Ok(())
    }

    /// Sums up what became of so many items, now.
    pub(crate) fn emit_summary(&self, counts: Counts, restarts: u64) -> Result<(), Error> {
        let elapsed = self.elapsed()?;
        self.emit(EventKind::Summary {
            counts,
            restarts,
            elapsed,
        })
    }

    /// From now on this observer is told.
    pub(crate) fn set_observer(&self, observer: Arc<dyn Observer>) -> Result<(), Error> {
        self.broker()?.set_observer(observer);
        Ok(())
    }

    /// The time since the queue was made: the zero of its events' times.
    pub(crate) fn elapsed(&self) -> Result<Duration, Error> {
        Ok(self.broker()?.read(|core| core.emitter.now()))
    }

    /// Where the items are that are here; of a stream, those that were taken from it.
    pub(crate) fn counts_here(&self) -> Result<Counts, Error> {
        Ok(self.broker()?.counts())
    }

    /// The items that nobody holds and that are not ended.
    pub(crate) fn waiting_ids(&self) -> Result<BTreeSet<ItemId>, Error> {
        Ok(self
            .broker()?
            .read(|core| core.dispatcher.ledger.waiting_ids()))
    }
}
