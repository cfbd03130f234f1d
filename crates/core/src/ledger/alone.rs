//! Items that run alone: one that was killed for memory is tried again while no worker is at anything
//! else, so that it has all the room that there is, and takes none from others.
//!
//! It goes back to its old place as any other. When it is next, no worker gets anything, until those
//! that are at something are through; what they have in advance they are asked to give back. Then it
//! is handed out, and again nothing is, until it is over. Where it is killed for memory once more,
//! more room there cannot be, and it is given up on.
//!
//! A loop that waits for its next item, or for something else than an item, is at nothing: it may be
//! waiting for what is held back. Where it would go on with what it holds, it waits on until the item
//! that runs alone is over. That one may wait so itself: then others begin, it is not alone any more, and
//! is tried again if it is killed. Threads that take items are at nothing either: nobody would kill them
//! for memory and leave the supervisor alive. So nothing waits for ever. It does not know who kills, nor
//! how much memory there is.

use super::{Ballot, Blame, Cause, HolderId, Ledger, Token, Weight};

/// The state of items that run alone.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// The delivery that runs alone, or did before it ended.
    running: Option<Token>,
    /// True if workers were asked for what they have in advance, because one of them is next.
    is_awaited: bool,
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Returns `true` if this worker gets nothing now, because an item is to run alone, or does.
    pub(super) fn is_kept_apart(&self) -> bool {
        self.waiting.has_killed() && (self.runs_alone() || self.awaits_alone())
    }

    /// The same for a holder, after which workers are asked for what they have in advance.
    pub(super) fn keeps_apart(&mut self) -> bool {
        if !self.waiting.has_killed() {
            return false;
        }
        self.waiting.skip();
        let is_awaited = self.awaits_alone();
        if is_awaited && !self.alone.is_awaited {
            self.consumers.recall_all();
        }
        self.alone.is_awaited = is_awaited;
        is_awaited || self.runs_alone()
    }

    /// Returns `true` if an item that runs alone is under way.
    fn runs_alone(&self) -> bool {
        self.alone.running.is_some_and(|token| {
            self.holds(token.holder, token.ordinal) && self.consumers.is_at_work(token.holder)
        })
    }

    /// Notes that what a worker has waited for is there, and returns `true` if it may go on. A loop may
    /// not, if it would be at what it holds beside an item that runs alone; that is asked again later.
    pub fn handle_back(&mut self, holder: HolderId) -> bool {
        let is_alone = || self.consumers.is_left_lying(holder) && self.runs_alone();
        let waits_on = self.waiting.has_killed() && is_alone();
        if !waits_on {
            self.consumers.come_back(holder);
        }
        !waits_on
    }

    /// Returns `true` if the next item is to run alone, and a worker is at something.
    fn awaits_alone(&self) -> bool {
        self.is_next_alone() && self.consumers.is_any_at_work()
    }

    /// Returns `true` if the next item is to run alone. One with copies is not: there are several at
    /// once.
    fn is_next_alone(&self) -> bool {
        let next = self.waiting.next_killed();
        next.is_some_and(|payload| self.policy_of(payload).is_none())
    }

    /// Notes that a worker gets this delivery, and whether it is to run alone.
    pub(super) fn note_alone(&mut self, token: Token, is_killed: bool) {
        if self.waiting.has_killed() && self.consumers.is_worker(token.holder) {
            self.alone.running = is_killed.then_some(token);
        }
    }

    /// Adds to a blame that the attempt was made alone, if it was.
    pub(super) fn of_attempt(&self, token: Token, blame: Blame) -> Blame {
        match self.alone.running == Some(token) {
            true => Blame {
                cause: blame.cause.also_alone(),
                ..blame
            },
            false => blame,
        }
    }
}

impl Cause {
    /// Returns `true` if the attempt was killed for memory, and the next one may have more room.
    pub(super) fn asks_for_room(&self) -> bool {
        matches!(self, Cause::OutOfMemory | Cause::MemoryLimit(_))
    }

    /// Returns `true` if something that has nothing to do with the item cut the attempt short.
    pub(super) fn is_from_outside(&self) -> bool {
        matches!(
            self,
            Cause::Killed { .. } | Cause::NoRoom(_) | Cause::Disconnected | Cause::LostTooOften(_)
        )
    }

    /// Returns the cause of an attempt that was made alone.
    fn also_alone(self) -> Self {
        match self {
            Cause::OutOfMemory => Cause::OutOfMemoryAlone(None),
            Cause::MemoryLimit(limit) => Cause::OutOfMemoryAlone(Some(limit)),
            other => other,
        }
    }
}
