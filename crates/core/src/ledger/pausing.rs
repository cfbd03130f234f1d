//! A pause: nothing more is handed out, and what was handed out and not begun is asked back. It
//! knows no reason for it, and no time: a pause ends when somebody says so.

use super::{Ballot, HolderId, Ledger, Notice, Weight};

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Hands nothing out until [`handle_unpause`](Self::handle_unpause), and asks all workers for
    /// what they have not begun ([`poll_recalled`](Self::poll_recalled)). Items that are begun go
    /// on.
    pub fn handle_pause(&mut self) {
        if core::mem::replace(&mut self.is_paused, true) {
            return;
        }
        self.notices.push_back(Notice::Paused);
        self.consumers.recall_all();
    }

    /// Hands out again.
    pub fn handle_unpause(&mut self) {
        if core::mem::take(&mut self.is_paused) {
            self.notices.push_back(Notice::Resumed);
        }
    }

    /// Returns `true` if nothing is handed out until somebody ends that.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// Returns the next worker that is to give back what it has not begun, because of a pause.
    pub fn poll_recalled(&mut self) -> Option<HolderId> {
        self.consumers.poll_recalled()
    }

    /// Returns `true` if a delivery of this holder was not begun, by the holder's own word: the last
    /// delivery that it has begun.
    #[must_use]
    pub fn has_unbegun(&self, holder: HolderId, begun: u64) -> bool {
        let mut held = self.leases.of(holder);
        held.any(|(ordinal, _)| ordinal > begun)
    }
}
