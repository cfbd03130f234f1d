//! Items that are taken from whoever has them: cancelled, condemned, or lost to others. Until their
//! holder speaks of them he is taken for busy, and may read them; what he says then comes too late.

use super::leases::Lease;
use super::waiting::Entry;
use super::{Cancelled, Cause, Failure, ItemId, Ledger, Scene, Token, Weight};

/// What became of an item before it was heard that it was somebody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was written down as done.
    Done,
    /// As a dead letter.
    Dead,
    /// As neither.
    Open,
}

impl<P: Weight + Clone, R> Ledger<P, R> {
    /// The item is not to be worked on: it becomes a dead letter. If somebody has it, its token is
    /// stale from now on, and stopping the work is the caller's business; until the holder speaks
    /// of the delivery or leaves, it is taken for busy.
    pub fn handle_cancel(&mut self, id: ItemId, scene: Scene) -> Cancelled {
        self.handle_condemned(id, Cause::Cancelled, scene)
    }

    /// The same for another reason.
    pub fn handle_condemned(&mut self, id: ItemId, cause: Cause, scene: Scene) -> Cancelled {
        self.end_suspicion(id);
        let token = self.token_of(id);
        let lease = token.and_then(|token| Some((token, self.leases.remove(token)?)));
        let found = lease.as_ref().map(|(token, lease)| token.handed(lease));
        let mut entry = match lease {
            Some((token, lease)) => {
                let kept = Lease {
                    is_asked_for: lease.is_asked_for,
                    entry: Entry::new(id, lease.entry.payload.clone()),
                };
                self.revoked.insert(token, kept);
                lease.entry
            }
            None => match self.waiting.remove(id) {
                Some(entry) => entry,
                None => return Cancelled::Not,
            },
        };
        let failure = Failure {
            attempt: found.map_or(0, |handed| handed.attempt),
            cause,
            scene,
        };
        self.note_failure(&mut entry, failure, true);
        self.give_up(entry);
        found.map_or(Cancelled::Waiting, Cancelled::Leased)
    }

    /// The stream says that an item is somebody else's by now. It is neither handed out nor told any
    /// more, and whoever works on it does so in vain: his word will come too late. `fate` is what
    /// the write said of it that was refused, which the stream has counted.
    pub fn handle_lost(&mut self, id: ItemId, fate: Fate) {
        // What was not told yet would be taken for a word of whoever has the item next.
        let untold = self.outbox.withdraw(id);
        // That word came too late, and nobody else has counted it.
        self.refused += u64::from(untold.is_some());
        let mut is_here = false;
        for fate in [fate, untold.unwrap_or(Fate::Open)] {
            match fate {
                Fate::Done => self.done -= 1,
                Fate::Dead => self.dead -= 1,
                Fate::Open => continue,
            }
            is_here = true;
            self.waiting.disown();
        }
        if !is_here && self.take_away(id) {
            is_here = true;
            self.waiting.disown();
        }
        // Otherwise its end is being told just now, and may count.
        if is_here {
            self.outbox.retract(id);
        }
    }

    /// So many late words were not told to the stream, which has not counted them.
    pub fn handle_untold(&mut self, count: u64) {
        self.refused += count;
    }

    /// Takes an item from wherever it is without an end. False if it is not here.
    fn take_away(&mut self, id: ItemId) -> bool {
        if self.waiting.remove(id).is_some() {
            return true;
        }
        let Some(token) = self.token_of(id) else {
            return false;
        };
        let lease = self.leases.remove(token);
        self.revoked.extend(lease.map(|lease| (token, lease)));
        true
    }

    /// The delivery that an item is, if somebody has it.
    fn token_of(&self, id: ItemId) -> Option<Token> {
        let mut leases = self.leases.iter();
        let (token, _) = leases.find(|(_, lease)| lease.entry.id == id)?;
        Some(token)
    }

    /// Somebody acknowledged or refused a delivery that is not his any more: that changes no item,
    /// and is counted.
    pub fn handle_late(&mut self, token: Token) {
        self.refused += 1;
        self.end_revoked(token);
    }

    /// Somebody gives back a delivery that is not his any more.
    pub fn handle_late_return(&mut self, token: Token) {
        self.end_revoked(token);
    }

    /// The holder of a cancelled delivery has done with it.
    pub(super) fn end_revoked(&mut self, token: Token) {
        if let Some(lease) = self.revoked.remove(&token) {
            let weight = lease.entry.payload.weight();
            self.consumers.release(token.holder, weight, None);
        }
    }
}
