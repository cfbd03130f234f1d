//! Times of items, and what they have to do with others: none begins too early or too late, or before what it
//! is to begin after, and no two have one unique key.

use std::collections::BTreeMap;
use std::time::Duration;

use dishrack_core::ledger::{Cancelled, Cause, ItemId, Refusal, Scene, UniqueKey};

use super::{World, note};
use crate::disk::End;
use crate::planted::Plant;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn not_before_of(number: u64) -> Option<Duration> {
    (number % 3 == 1).then(|| ms(number * 137 % 900))
}

pub(super) fn deadline_of(number: u64) -> Option<Duration> {
    (number % 5 == 2).then(|| ms(100 + number * 253 % 1500))
}

/// Returns the items after which one is to begin: mostly earlier ones, and one now and then that there is
/// not.
pub(super) fn after_of(number: u64) -> Vec<ItemId> {
    match number % 7 {
        2 => vec![ItemId(number)],
        3 => vec![ItemId(number / 2 + 1), ItemId(number - 1)],
        5 => vec![ItemId(number * 2 / 3 + 1)],
        _ => Vec::new(),
    }
}

/// Returns the unique key of an item: one is held until its item ends, another one for a time.
pub(super) fn unique_of(number: u64) -> Option<UniqueKey> {
    match number % 8 {
        1 | 4 => Some(UniqueKey::until_end(1)),
        6 => Some(UniqueKey::within(6, ms(150))),
        _ => None,
    }
}

impl World {
    /// Tells the ledger the time, and gives up what is overdue. MIRRORED from `note_time` in
    /// `src/broker/copies.rs`.
    pub(super) fn tell_time(&mut self) {
        let ledger = &mut self.life.dispatcher.ledger;
        if !ledger.is_timed() {
            return;
        }
        ledger.handle_timeout(self.now);
        if self.is_planted(Plant::OverdueKept) {
            return;
        }
        while let Some(id) = self.life.dispatcher.ledger.poll_overdue(self.now) {
            note!(self, "item {id} is overdue");
            let scene = Scene::ended_at(self.now);
            let ledger = &mut self.life.dispatcher.ledger;
            let given_up = ledger.handle_condemned(id, Cause::DeadlinePassed, scene);
            assert_eq!(given_up, Cancelled::Waiting, "a holder had item {id}");
        }
    }

    /// Checks an item that is handed out just now.
    pub(super) fn check_relations(&mut self, id: ItemId, number: u64) {
        let limits = self.plan.limits;
        let is_revived = self.truth.is_revived(number);
        if limits.has_times {
            let (not_before, deadline) = (not_before_of(number), deadline_of(number));
            let is_early = not_before.is_some_and(|time| self.now < time);
            assert!(!is_early, "put {number} begins too early");
            // The deadline of one that is tried again may be behind it.
            let is_late = deadline.is_some_and(|time| self.now >= time);
            assert!(!is_late || is_revived, "put {number} begins too late");
            let is_timed = not_before.is_some() || deadline.is_some();
            self.coverage.timed_deliveries += u64::from(is_timed);
        }
        if limits.has_unique_keys {
            let has_key = unique_of(number).is_some();
            self.coverage.unique_deliveries += u64::from(has_key);
        }
        if !limits.has_dependencies {
            return;
        }
        let unfinished = self.life.dispatcher.ledger.unfinished_ids();
        for one in after_of(number) {
            // Whoever tries an item again alone wants it to begin.
            let is_open = one < id && unfinished.contains(&one) && !is_revived;
            assert!(!is_open, "put {number} begins before item {one} is done");
            let is_dead = self.is_dead(one);
            assert!(!is_dead || is_revived, "put {number}: item {one} is dead");
            self.coverage.deliveries_after_others += 1;
        }
    }

    /// Returns `true` if an item was told to be a dead letter, or is one on the disk.
    fn is_dead(&self, id: ItemId) -> bool {
        let mut letters = self.life.letters.iter();
        let line = self.disk.lines().get(&id.0);
        letters.any(|letter| letter.id == id)
            || line.is_some_and(|line| line.end == Some(End::Dead))
    }

    /// Checks that no two items without an end have one unique key that is held until the end.
    pub(super) fn check_keys(&self) {
        if !self.plan.limits.has_unique_keys {
            return;
        }
        let dispatcher = &self.life.dispatcher;
        let mut owners = BTreeMap::new();
        for id in dispatcher.ledger.unfinished_ids() {
            let number = dispatcher.numbers.get(&id).copied();
            let key = number.and_then(unique_of).filter(|key| key.time.is_none());
            let (Some(number), Some(key)) = (number, key) else {
                continue;
            };
            // One that is tried again goes without its key if another one has it.
            if !self.truth.is_revived(number) {
                let other = owners.insert(key.key, id);
                assert_eq!(other, None, "item {id} has the same unique key");
            }
        }
    }

    /// Checks that a put is refused for a reason.
    pub(super) fn check_refusal(&mut self, number: u64, refusal: Refusal) {
        let dispatcher = &self.life.dispatcher;
        let unfinished = dispatcher.ledger.unfinished_ids();
        match refusal {
            Refusal::UnknownItem(id) => {
                assert!(after_of(number).contains(&id));
                let is_known = (1..=dispatcher.ledger.accepted()).contains(&id.0);
                assert!(!is_known, "item {id} was accepted");
                self.coverage.puts_refused_for_others += 1;
            }
            Refusal::DeadItem(id) => {
                assert!(after_of(number).contains(&id));
                assert!(!unfinished.contains(&id), "item {id} is not dead");
                self.coverage.puts_refused_for_others += 1;
            }
            Refusal::Duplicate { of } => {
                let key = unique_of(number).expect("it has a key");
                let other = dispatcher.numbers.get(&of).copied();
                let is_same = |other| unique_of(other) == Some(key);
                assert!(other.is_none_or(is_same), "item {of} has another key");
                let is_held = key.time.is_some() || unfinished.contains(&of);
                assert!(is_held, "item {of} has its end");
                self.coverage.duplicates_refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}
