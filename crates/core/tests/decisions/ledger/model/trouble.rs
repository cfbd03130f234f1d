//! Calls at bad times: late words, deaths, cancelling, reviving, and the journal with its failure.

use std::time::Duration;

use dishrack_core::ledger::{
    Blame, Cancelled, Cause, HolderId, ItemId, Record, Stale, Started, Token,
};

use crate::steps::Steps as _;

use super::{Model, Place, singly};

impl Model {
    /// Checks that no word with this token changes an item. It is counted, and tells that the
    /// holder is through with a cancelled delivery.
    pub(in super::super) fn show_stale(&mut self, token: Token) {
        let ledger = &mut self.ledger;
        assert_eq!(ledger.done(token, Duration::ZERO, Some(0)), Err(Stale));
        let blame = Blame::from(Cause::Dropped);
        let nacked = ledger.handle_nack(token, blame, None, self.now);
        assert_eq!(nacked, Err(Stale));
        ledger.handle_late(token);
        assert_eq!(ledger.handle_return(token), Err(Stale));
        assert_eq!((ledger.handed(token), ledger.payload(token)), (None, None));
        self.refused += 3;
        self.revoked.retain(|revoked| revoked.token != token);
    }

    pub(in super::super) fn return_stale(&mut self, token: Token) {
        assert_eq!(self.ledger.handle_return(token), Err(Stale));
        self.revoked.retain(|revoked| revoked.token != token);
    }

    pub(in super::super) fn leave(
        &mut self,
        holder: HolderId,
        started: Started,
        blame: Option<&Blame>,
    ) {
        let answer = self.ledger.handle_leave(holder, started, blame, self.now);
        let mut held = self.leases.clone();
        held.retain(|lease| lease.holder == holder);
        held.sort_by_key(|lease| lease.id);
        let mut charged = 0;
        for lease in held {
            let index = self.leases.iter().position(|one| *one == lease);
            self.end_lease(index.expect("it is held"), Place::Waiting);
            let (first, last) = (started.current, started.begun);
            let is_started = first > 0 && first <= lease.ordinal && lease.ordinal <= last;
            if let Some(blame) = blame.filter(|_| is_started) {
                self.fail(lease.id, blame.clone(), None);
                charged += 1;
            }
        }
        assert_eq!(answer, charged);
        self.revoked.retain(|revoked| revoked.holder != holder);
        self.holders.remove(&holder);
    }

    /// Cancels an item that may be anywhere, or nowhere.
    pub(in super::super) fn cancel(&mut self, number: usize) {
        let id = ItemId(number as u64 % (self.items.len() as u64 + 2));
        let place = self.items.get(&id).map(|item| item.place);
        let lease = self.leases.iter().position(|lease| lease.id == id);
        let expected = match (place, lease) {
            (Some(Place::Waiting | Place::Resting(_)), _) => Cancelled::Waiting,
            (_, Some(index)) => Cancelled::Leased(self.leases[index]),
            _ => Cancelled::Not,
        };
        let scene = self.scene();
        let answer = self.ledger.handle_cancel(id, scene.clone());
        assert_eq!(answer, expected);
        let attempt = match answer {
            Cancelled::Not => return,
            Cancelled::Waiting => 0,
            Cancelled::Leased(handed) => {
                self.end_lease(lease.expect("it is leased"), Place::Waiting);
                self.revoked.push(handed);
                handed.attempt
            }
        };
        let cause = Cause::Cancelled;
        self.note_failure(id, attempt, Blame { cause, scene });
        self.give_up(id);
    }

    /// Gives a reported dead letter its attempts again.
    pub(in super::super) fn revive(&mut self, which: usize) {
        let Some(index) = which.checked_rem(self.letters.len()) else {
            return;
        };
        let letter = self.letters.remove(index);
        let item = self.items.get_mut(&letter.id).expect("it was accepted");
        item.place = Place::Waiting;
        item.forgiven = u32::try_from(item.history.len()).expect("few");
        self.ledger.handle_revive(letter);
    }

    /// Takes the records to be written, unless a write is under way.
    pub(in super::super) fn begin_write(&mut self) {
        let journal = &mut self.journal;
        let is_due = journal.taken < journal.records.len();
        let is_expected = is_due && journal.under_way.is_none() && !journal.is_broken;
        assert_eq!(self.ledger.has_write(), is_expected);
        let write = self.ledger.poll_write();
        assert_eq!(write.is_some(), is_expected);
        if let Some(write) = write {
            journal.writes += 1;
            assert_eq!(write.number, journal.writes);
            // Only those of one item have an order.
            let mut said: Vec<_> = write.records.iter().flat_map(singly).collect();
            let mut expected = journal.records[journal.taken..].to_vec();
            for records in [&mut said, &mut expected] {
                records.sort_by_key(|record| record.ids().next());
            }
            assert_eq!(said, expected);
            journal.taken = journal.records.len();
            journal.under_way = Some(write.number);
        }
    }

    /// Makes the write under way durable, and reports an old one once more.
    pub(in super::super) fn finish_write(&mut self) {
        self.ledger.handle_written(self.journal.writes + 1);
        let Some(number) = self.journal.under_way.take() else {
            self.ledger.handle_written(self.journal.writes);
            return;
        };
        self.ledger.handle_written(number);
        let fresh = self.journal.durable..self.journal.taken;
        self.journal.durable = self.journal.taken;
        for record in &self.journal.records[fresh] {
            if let Record::Accepted { id, .. } = record {
                let item = self.items.get_mut(id).expect("it was accepted");
                assert_eq!(item.place, Place::Staged);
                item.place = Place::Waiting;
            }
        }
    }

    pub(in super::super) fn fail_write(&mut self) {
        if self.journal.under_way.take().is_some() {
            self.ledger.handle_write_failed();
            self.journal.is_broken = true;
            self.items.retain(|_, item| item.place != Place::Staged);
        }
    }
}
