//! The things that may wait for a moment, because nobody waits for it or somebody comes by who does it with other
//! things. It does not know how long a moment is.

use super::Dispatcher;
use crate::ledger::{Ballot, Weight};

impl<P: Weight + Clone, R: Ballot> Dispatcher<P, R> {
    /// Returns `true` if an item put just now may wait for a while: no `get` waits for one, and no
    /// worker need be woken. A busy worker that is ready for more will say so before it runs out.
    /// With a journal it is not handed out before it is written in any case.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let nobody_asks = self.gets.iter().all(|get| get.is_worker) && self.local_getters == 0;
        let may_be_wanted = !self.ledger.is_journaled() && self.ledger.has_idle_taker();
        nobody_asks && !may_be_wanted && self.shared.is_none()
    }

    /// Returns `true` if a caller that puts item after item may carry out what follows from a write:
    /// nobody waits for that, and the caller comes by in a moment.
    #[must_use]
    pub fn is_quiet_after_write(&self) -> bool {
        self.is_quiet()
            && self.ledger.is_streaming()
            && !self.ledger.has_reports()
            && self.staged.is_empty()
            && self.answers.is_empty()
    }

    /// Returns `true` if the journal is to be written at once. `is_awaited`: callers wait until what
    /// they put is durable.
    #[must_use]
    pub fn is_write_due(&self, is_awaited: bool) -> bool {
        let is_awaited = is_awaited || !self.staged.is_empty();
        self.ledger.is_write_due() || (is_awaited && self.ledger.has_write())
    }
}
