//! Decides which attempts are not charged because a stop of the whole run ended them.
//!
//! A stop may reach workers and the processes that they run at the same time as their supervisor: a
//! service manager signals all of a service, a shell all of a job. The order of their ends is
//! chance. So an attempt that such a signal ended is not charged while a supervisor is being
//! stopped; at other times the item is kept for a moment, in case the stop is only noticed next.
//! Times are since any fixed start.

use core::time::Duration;

use super::unfinished::UnfinishedItem;
use super::{Ballot, Blame, Failure, ItemId, Ledger, Weight};

/// The time within which a stop that has ended an item's attempt is noticed: signals to several
/// processes are sent at once, and a supervisor that waits for a processor gets one much sooner.
const SUSPENSE: Duration = Duration::from_millis(500);

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Notes that a supervisor of this queue is asked to stop. Items that the same stop seems to
    /// have ended just before go back, uncounted.
    pub fn handle_stopping(&mut self) {
        self.stopping += 1;
        while let Some((entry, _)) = self.waiting.pop_suspended(Duration::MAX) {
            self.waiting.put_back(entry);
        }
    }

    /// Notes that a supervisor that was asked to stop has stopped.
    pub fn handle_stopped(&mut self) {
        self.stopping = self.stopping.saturating_sub(1);
    }

    /// Counts a failed attempt, unless a stop has ended it, or may have.
    pub(super) fn charge(
        &mut self,
        entry: UnfinishedItem<P>,
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

    /// Charges a suspended item that is about to be ended otherwise: its attempt is a part of its
    /// history, and would wait for a next one that will not come.
    pub(super) fn end_suspicion(&mut self, id: ItemId) {
        if let Some((mut entry, (blame, _))) = self.waiting.remove_suspended(id) {
            let failure = Failure::of(entry.attempt(), blame);
            self.note_failure(&mut entry, failure.clone(), false);
            self.try_again(entry, failure, Some(Duration::ZERO), Duration::ZERO);
        }
    }

    /// Counts all suspended attempts at once, because no supervisor is left that could be stopped.
    pub fn handle_unstoppable(&mut self, now: Duration) {
        self.end_suspicions_until(Duration::MAX, now);
    }

    /// Charges the items for which no stop has come in time.
    pub(super) fn end_suspicions(&mut self, now: Duration) {
        self.end_suspicions_until(now, now);
    }

    fn end_suspicions_until(&mut self, until: Duration, now: Duration) {
        while let Some((entry, (blame, rest))) = self.waiting.pop_suspended(until) {
            self.fail(entry, blame, rest, now);
        }
    }
}
