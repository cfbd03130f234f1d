//! Several copies of an item: the time at which more are due, and the number of workers that may
//! take one. The ledger decides.

use std::sync::Arc;

use super::core::Core;
use super::product::Comparison;
use dishrack_core::ledger::Copies;

/// The reason why a queue on a stream has no copies.
pub(crate) const NONE_ON_A_STREAM: &str = "cannot be made of items on Redis, where each has one \
                                           holder at a time: use a local queue, or a journal";

impl Core {
    /// Tells the ledger the time, where that matters for what it hands out.
    pub(super) fn note_time(&mut self) {
        if self.dispatcher.ledger.needs_time() {
            let now = self.emitter.now();
            self.dispatcher.ledger.handle_timeout(now);
        }
    }

    /// Notes that workers came, or that some will not be started again.
    pub(crate) fn workers_change(&mut self, came: usize, went: usize) {
        self.workers = (self.workers + came).saturating_sub(went);
        let now = self.emitter.now();
        self.dispatcher.ledger.handle_workers(self.workers, now);
    }

    /// Sets the copies of each item that does not choose for itself.
    pub(crate) fn set_copies(&mut self, copies: Copies) {
        self.dispatcher.ledger.handle_policy(Some(copies));
    }

    /// Sets the way in which results are compared.
    pub(crate) fn set_comparison(&mut self, comparison: Arc<Comparison>) {
        self.comparison = Some(comparison);
    }
}
