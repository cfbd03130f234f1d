//! Puts many items at once: as many as there is room for under one lock, with one wake-up. It knows
//! neither what the items are nor what becomes of those that are refused.

use std::collections::VecDeque;

use super::answer::{Accepted, PutAnswer, PutTicket};
use super::puts::RoomWait;
use super::{Broker, Deadline, Envelope};
use crate::error::Kind;
use crate::fail;
use dishrack_core::ledger::Refusal;

impl Broker {
    /// Accepts or refuses each item of this batch, in order, and waits for room where there is
    /// none. Adds the answers to `answers`. With a journal the items count once they are durable
    /// ([`sync`](Broker::sync)). A stream answers later: its tickets are added to `unanswered`
    /// ([`await_answers`](Broker::await_answers)).
    pub(crate) fn put_many(
        &self,
        batch: &mut VecDeque<Envelope>,
        is_holding: bool,
        answers: &mut Vec<PutAnswer>,
        unanswered: &mut VecDeque<PutTicket>,
    ) {
        if self.is_shared() {
            self.send_many(batch, is_holding, unanswered);
        } else {
            self.accept_many(batch, is_holding, answers);
            for answer in answers {
                if let PutAnswer::Refused((), kind) = answer
                    && let Err(broken) = self.sync_duplicate(kind)
                {
                    *kind = broken;
                }
            }
        }
    }

    /// Does the same, but for a stream it only sends them on their way.
    pub(crate) fn put_many_unsynced(
        &self,
        batch: &mut VecDeque<Envelope>,
        is_holding: bool,
        answers: &mut Vec<PutAnswer>,
    ) {
        if self.is_shared() {
            self.send_many_unsynced(batch, is_holding, answers);
        } else {
            self.accept_many(batch, is_holding, answers);
        }
    }

    /// Accepts items from the front, and waits for room as long as they are wanted, which is asked
    /// with the lock held whenever there may be room again. Adds those that were accepted to
    /// `accepted`, also where it fails; with a journal they count once they are durable. Not for a
    /// stream.
    ///
    /// # Errors
    /// The reason for which the item then at the front is not accepted: `is_full` if it is not
    /// wanted any more.
    pub(crate) fn put_while(
        &self,
        batch: &mut VecDeque<Envelope>,
        is_wanted: &dyn Fn() -> bool,
        accepted: &mut Vec<Accepted>,
    ) -> Result<(), Kind> {
        let mut answers = Vec::new();
        let end = self.accept_front(batch, false, is_wanted, &mut answers);
        let those = answers.into_iter().filter_map(|answer| match answer {
            PutAnswer::Accepted(those) => Some(those),
            PutAnswer::Sent(_) | PutAnswer::Refused(..) => None,
        });
        accepted.extend(those);
        end
    }

    /// Has puts that wait for room ask whether they are still wanted.
    pub(crate) fn wake_putters(&self) {
        // With the lock held none is between its question and its sleep.
        let _core = self.lock();
        self.monitor.doorbells.room.notify_all();
    }

    fn accept_many(
        &self,
        batch: &mut VecDeque<Envelope>,
        is_holding: bool,
        answers: &mut Vec<PutAnswer>,
    ) {
        while !batch.is_empty() {
            fail::point("put many: begin");
            if let Err(kind) = self.accept_front(batch, is_holding, &|| true, answers) {
                batch.pop_front();
                answers.push(PutAnswer::Refused((), kind));
            }
        }
    }

    /// Accepts items from the front until none is left.
    ///
    /// # Errors
    /// The reason for which the item then at the front is refused.
    fn accept_front(
        &self,
        batch: &mut VecDeque<Envelope>,
        is_holding: bool,
        is_wanted: &dyn Fn() -> bool,
        answers: &mut Vec<PutAnswer>,
    ) -> Result<(), Kind> {
        let mut wait = RoomWait::begin(Deadline::Forever, is_holding);
        let mut core = self.lock();
        if !is_wanted() {
            return Err(Refusal::Full.into());
        }
        loop {
            let (accepted, end) = core.try_put_many(batch, is_holding);
            let count = accepted.map_or(0, Accepted::count);
            if let Some(accepted) = accepted {
                core.follow_puts(usize::try_from(count).unwrap_or(usize::MAX));
                fail::point("put many: accepted, not durable");
                answers.push(PutAnswer::Accepted(accepted));
            }
            match end {
                // Workers may have taken some of them, so there may be room again.
                Err(kind) if kind.is_full() && count > 0 => {}
                Err(kind) if kind.is_full() => {
                    fail::point("put many: no room");
                    core = self.await_room(core, &mut wait)?;
                    if !is_wanted() {
                        return Err(kind);
                    }
                }
                end => {
                    drop(core);
                    self.drive_inline();
                    return end;
                }
            }
        }
    }
}
