//! The fate of an item whose attempt has failed: another attempt, or a dead letter. It does not
//! decide whether the item is charged at all.

use core::time::Duration;

use super::unfinished::UnfinishedItem;
use super::{
    Attempt, Ballot, Blame, Cause, DeadLetter, Failure, ItemId, Ledger, Record, Report, Weight,
};

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    pub(super) fn fail(
        &mut self,
        mut entry: UnfinishedItem<P>,
        blame: Blame,
        rest: Option<Duration>,
        now: Duration,
    ) {
        let is_last = entry.is_given_up_after(&blame.cause, &self.options);
        let lack = match &blame.cause {
            Cause::NoRoom(why) => Some(why.clone()),
            _ => None,
        };
        let taken = blame.scene.ended.saturating_sub(blame.scene.started);
        self.durations.failed.observe(taken, 1);
        let failure = Failure::of(entry.attempt(), blame);
        self.note_failure(&mut entry, failure.clone(), is_last);
        if is_last {
            self.give_up(entry);
        } else {
            self.try_again(entry, failure, rest, now);
        }
        match lack {
            Some(why) => self.begin_shortage(why, now),
            None => self.note_over(1),
        }
    }

    /// Charges an item that waits with an attempt that was begun, and whose supervisor was lost before
    /// its end: the item waits again at once, or is a dead letter. Returns `false` if it does not
    /// wait.
    pub fn handle_lost_attempt(&mut self, id: ItemId, blame: Blame, now: Duration) -> bool {
        let Some(entry) = self.waiting.remove(id) else {
            return false;
        };
        self.fail(entry, blame, Some(Duration::ZERO), now);
        true
    }

    /// Tries a dead letter again: it waits in its old place, and its failed attempts no longer
    /// count.
    pub fn handle_revive(&mut self, letter: DeadLetter<P>) {
        self.dead = self.dead.saturating_sub(1);
        self.note_policy(&letter.payload);
        self.note_revived(&letter);
        let unmet = self.unmet(letter.id, &letter.payload, &letter.history);
        let forgiven = u32::try_from(letter.history.len()).unwrap_or(u32::MAX);
        let id = letter.id;
        let entry = UnfinishedItem::after(id, letter.payload, letter.history, forgiven);
        self.waiting.put_back_in_time(entry);
        self.note_dependencies(id, unmet);
        self.give_up_doomed();
    }

    pub(super) fn try_again(
        &mut self,
        entry: UnfinishedItem<P>,
        failure: Failure,
        rest: Option<Duration>,
        now: Duration,
    ) {
        let attempt = failure.attempt;
        self.retries += 1;
        let usual = || self.options.backoff.delay(attempt, entry.id.0);
        let rest = rest.unwrap_or_else(usual);
        self.ends.again(entry.id, &failure, rest);
        self.outbox.report(Report::Retry {
            id: entry.id,
            failure,
            payload: entry.payload.clone(),
        });
        self.waiting.put_back_after(entry, now, rest);
    }

    pub(super) fn note_failure(
        &mut self,
        entry: &mut UnfinishedItem<P>,
        failure: Failure,
        is_last: bool,
    ) {
        let id = entry.id;
        self.outbox.record(|| Record::Failed {
            id,
            failure: failure.clone(),
        });
        let attempt = Attempt {
            number: failure.attempt,
            cause: Some(failure.cause.clone()),
            is_last,
            scene: failure.scene.clone(),
        };
        self.keep_attempt(id, &entry.payload, attempt);
        entry.note(failure);
    }

    pub(super) fn keep_attempt(&mut self, id: ItemId, payload: &P, attempt: Attempt) {
        if self.keeps_attempts {
            self.outbox.record(|| Record::Over {
                id,
                payload: payload.clone(),
                attempt,
            });
        }
    }

    /// Makes an item a dead letter, and all that depend on it.
    pub(super) fn give_up(&mut self, entry: UnfinishedItem<P>) {
        self.bury(entry);
        self.give_up_doomed();
    }

    /// Makes an item a dead letter.
    pub(super) fn bury(&mut self, entry: UnfinishedItem<P>) {
        self.dead += 1;
        // Now, as terms that were its own are not there any more when it is tried again.
        self.waiting.forget_deadline(&entry);
        let last = entry.history().last();
        self.note_dead(
            entry.id,
            last.map_or(Duration::ZERO, |last| last.scene.ended),
        );
        let (id, payload) = (entry.id, entry.payload.clone());
        self.outbox.record(|| Record::Dead { id, payload });
        let payload = entry.payload.clone();
        self.outbox.report(Report::Dead(DeadLetter {
            id,
            payload,
            history: entry.into_history(),
        }));
    }
}
