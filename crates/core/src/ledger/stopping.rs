//! Whom a stop is charged to: nobody, whoever else got the same signal.
//!
//! A stop may reach workers and what they run along with their supervisor: a service manager signals
//! all of a service, a shell all of a job. Which of them ends first is chance. So what such a signal
//! has ended is not charged while a supervisor is being stopped; and where none is, the item is kept
//! for a moment, in case that is only heard next. Times are since any fixed start.

use core::time::Duration;

use super::waiting::Entry;
use super::{Blame, Failure, ItemId, Ledger, Weight};

/// A stop that has ended an item's attempt is heard of within this time: signals to several processes
/// are sent at once, and a supervisor that has to wait for a processor gets one in far less.
const SUSPENSE: Duration = Duration::from_millis(500);

impl<P: Weight + Clone, R> Ledger<P, R> {
    /// A supervisor of this queue is asked to stop. What the same stop seems to have ended just
    /// before goes back, uncounted.
    pub fn handle_stopping(&mut self) {
        self.stopping += 1;
        while let Some((entry, _)) = self.waiting.pop_suspended(Duration::MAX) {
            self.waiting.put_back(entry);
        }
    }

    /// A supervisor that was asked to stop has stopped.
    pub fn handle_stopped(&mut self) {
        self.stopping = self.stopping.saturating_sub(1);
    }

    /// An attempt failed: it is counted, unless a stop has ended it, or may have.
    pub(super) fn charge(
        &mut self,
        entry: Entry<P>,
        blame: Blame,
        rest: Option<Duration>,
        now: Duration,
    ) {
        let is_stopping = self.stopping > 0;
        if is_stopping && blame.cause.is_of_a_stop() {
            self.waiting.put_back(entry);
        } else if !is_stopping && blame.cause.may_be_of_a_stop() {
            let until = now.saturating_add(SUSPENSE);
            self.waiting.suspend(entry, (blame, rest), until);
        } else {
            self.fail(entry, blame, rest, now);
        }
    }

    /// An item is about to be ended otherwise: its attempt is a part of its history, and waits to be
    /// followed by another one, which will not come.
    pub(super) fn end_suspicion(&mut self, id: ItemId) {
        if let Some((mut entry, (blame, _))) = self.waiting.remove_suspended(id) {
            let failure = Failure::of(entry.attempt(), blame);
            self.note_failure(&mut entry, failure.clone(), false);
            self.try_again(entry, failure, Some(Duration::ZERO), Duration::ZERO);
        }
    }

    /// No supervisor is left that could be stopped: what ended before it counts at once.
    pub fn handle_unstoppable(&mut self, now: Duration) {
        self.end_suspicions_until(Duration::MAX, now);
    }

    /// What no stop has come for is counted after all.
    pub(super) fn end_suspicions(&mut self, now: Duration) {
        self.end_suspicions_until(now, now);
    }

    fn end_suspicions_until(&mut self, until: Duration, now: Duration) {
        while let Some((entry, (blame, rest))) = self.waiting.pop_suspended(until) {
            self.fail(entry, blame, rest, now);
        }
    }
}
