//! Items that are taken from their holders: cancelled, condemned, or lost to others. Until a holder
//! settles such an item it counts as busy and may read it; its acknowledgement comes too late.

use super::leases::Lease;
use super::unfinished::UnfinishedItem;
use super::{
    Ballot, Blame, Cancelled, Cause, Failure, Handed, ItemId, Ledger, Scene, Token, Weight,
};

/// The recorded end of an item at the time when it was found to be another supervisor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was written down as done.
    Done,
    /// It was written down as a dead letter.
    Dead,
    /// It was written down as neither.
    Open,
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Makes an item a dead letter that is not to be worked on. If a holder has it, its token is
    /// stale from now on, and the caller must stop the work; the holder counts as busy until it
    /// settles the delivery or leaves.
    pub fn handle_cancel(&mut self, id: ItemId, scene: Scene) -> Cancelled {
        self.handle_condemned(id, Cause::Cancelled, scene)
    }

    /// Cancels an item, if no holder has it. Returns `false` if one has, or it has its end.
    pub fn handle_withdraw(&mut self, id: ItemId, scene: Scene) -> bool {
        let is_with_holder = self.copies.has(id) || self.token_of(id).is_some();
        !is_with_holder && self.handle_cancel(id, scene) != Cancelled::Not
    }

    /// Makes an item a dead letter for another cause.
    pub fn handle_condemned(&mut self, id: ItemId, cause: Cause, scene: Scene) -> Cancelled {
        self.end_suspicion(id);
        let Some((mut entry, found)) = self.take_to_condemn(id) else {
            return Cancelled::Not;
        };
        if let Some(handed) = found {
            let (cause, scene) = (cause.clone(), scene.clone());
            self.ends.failed(&handed, &Blame { cause, scene });
        }
        let failure = Failure {
            attempt: found.map_or(0, |handed| handed.attempt),
            cause,
            scene,
        };
        self.note_failure(&mut entry, failure, true);
        self.give_up(entry);
        found.map_or(Cancelled::Waiting, Cancelled::Leased)
    }

    /// Takes an item from its place, and from its holder, if it has one. Its delivery stays, so that
    /// the holder may read it.
    fn take_to_condemn(&mut self, id: ItemId) -> Option<(UnfinishedItem<P>, Option<Handed>)> {
        if self.copies.has(id) {
            return self.condemn_group(id);
        }
        let token = self.token_of(id);
        let Some((token, lease)) =
            token.and_then(|token| Some((token, self.leases.remove(token)?)))
        else {
            return Some((self.waiting.remove(id)?, None));
        };
        let handed = token.handed(&lease);
        let kept = Lease {
            entry: UnfinishedItem::in_line(id, lease.entry.payload.clone(), lease.entry.line),
            copy: lease.copy,
        };
        self.revoked.insert(token, kept);
        Some((lease.entry, Some(handed)))
    }

    /// Handles the stream's answer that an item is another supervisor's by now. It is not handed
    /// out or told any more, and a holder's acknowledgement will come too late. `fate` is what the
    /// refused write said of it, which the stream has counted.
    pub fn handle_lost(&mut self, id: ItemId, fate: Fate) {
        // A record that was not told yet would be taken for one of the item's next holder.
        let untold = self.outbox.withdraw(id);
        // That record came too late, and the stream has not counted it.
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

    /// Counts late records that were not told to the stream, which has not counted them.
    pub fn handle_untold(&mut self, count: u64) {
        self.refused += count;
    }

    /// Takes an item from its place, if it has no end. Returns `false` if it is not here.
    fn take_away(&mut self, id: ItemId) -> bool {
        if self.waiting.remove(id).is_some() {
            return true;
        }
        if self.copies.has(id) {
            return self.take_group(id).is_some();
        }
        let Some(token) = self.token_of(id) else {
            return false;
        };
        let lease = self.leases.remove(token);
        self.revoked.extend(lease.map(|lease| (token, lease)));
        true
    }

    fn token_of(&self, id: ItemId) -> Option<Token> {
        let mut leases = self.leases.iter();
        let (token, _) = leases.find(|(_, lease)| lease.entry.id == id)?;
        Some(token)
    }

    /// Counts an acknowledgement or a refusal of a delivery that is no longer its holder's. It
    /// changes no item.
    pub fn handle_late(&mut self, token: Token) {
        self.refused += 1;
        self.end_revoked(token);
    }

    /// Handles a delivery that is given back and is no longer its holder's.
    pub fn handle_late_return(&mut self, token: Token) {
        self.end_revoked(token);
    }

    /// Handles a holder that has done with a cancelled delivery.
    pub(super) fn end_revoked(&mut self, token: Token) {
        if let Some(lease) = self.revoked.remove(&token) {
            let weight = lease.entry.payload.weight();
            self.consumers.release(token, weight, None);
            self.end_running(token, lease.entry.line);
        }
    }
}
