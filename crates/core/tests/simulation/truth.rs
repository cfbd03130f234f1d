//! The real events and the promises, kept apart from everything that is tested. A promise is a
//! report to a caller: that a put was accepted, that an item is done or dead, that all is settled;
//! or that an attempt failed. It must hold for ever. Only a power failure without a sync after the
//! promise, in the mode that does not sync each commit, may break it.
//!
//! An unreported fact is not promised: an item may be done again, and an attempt be forgotten, if
//! the supervisor ends before the record is durable. So an item is begun at most `max_attempts`
//! times for each time it was revived, and once more for each end of a supervisor.

use std::collections::{BTreeMap, BTreeSet};

use dishrack_core::ledger::{Cause, DeadLetter, Handed, ItemId, Token};

use crate::disk::{End, Lines};
use crate::envelope::Envelope;
use crate::votes::Votes;

/// One put, and its fate.
#[derive(Debug, Clone, Default)]
struct Item {
    /// The step in which its acceptance was reported.
    put_told: Option<u64>,
    end_told: Option<(End, u64)>,
    /// True if it is done for this supervisor, without a report.
    is_quiet: bool,
    /// The last failed attempt that was reported.
    retry_told: Option<(u32, u64)>,
    /// The entries in its history, and the number of them that do not count any more.
    failures: u32,
    forgiven: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Truth {
    items: Vec<Item>,
    /// Deliveries of cancelled items, and copies that are not needed any more.
    revoked: Vec<Token>,
    pub(crate) votes: Votes,
    /// The items that clients have said are done, each with its delivery.
    acknowledged: BTreeMap<u64, Token>,
    /// Items whose output was shown.
    shown: BTreeSet<u64>,
    /// Items whose last attempt was killed for memory, and deliveries of them to workers.
    killed: BTreeSet<u64>,
    alone: Vec<Token>,
    /// The time of the disk's last sync, if it syncs only now and then.
    pub(crate) synced: u64,
}

impl Truth {
    /// Returns a new number for a put.
    pub(crate) fn new_number(&mut self) -> u64 {
        self.items.push(Item::default());
        self.items.len() as u64 - 1
    }

    fn item(&mut self, number: u64) -> &mut Item {
        &mut self.items[usize::try_from(number).expect("few items")]
    }

    pub(crate) fn put_told(&mut self, number: u64, step: u64) {
        let told = self.item(number).put_told.replace(step);
        assert_eq!(
            told, None,
            "put {number} was told twice that it is accepted"
        );
    }

    pub(crate) fn handed(&mut self, handed: &Handed, number: u64, max_attempts: u32) {
        let is_open = !self.acknowledged.contains_key(&number);
        assert!(
            is_open,
            "item {number} was acknowledged, and is handed out again"
        );
        let item = self.item(number);
        assert_eq!(item.end_told, None, "item {number} is handed out again");
        assert!(!item.is_quiet, "item {number} is handed out again");
        let counted = item.failures - item.forgiven;
        assert!(counted < max_attempts, "item {number}: {counted} attempts");
        assert_eq!(handed.attempt, item.failures + 1, "attempts of {number}");
    }

    /// Notes that an attempt failed, or the item was cancelled.
    pub(crate) fn failed(&mut self, number: u64) {
        let is_open = !self.acknowledged.contains_key(&number);
        assert!(is_open, "item {number} was acknowledged, and is charged");
        self.item(number).failures += 1;
        self.killed.remove(&number);
    }

    /// Notes that the attempt that has just failed was killed for memory.
    pub(crate) fn killed(&mut self, number: u64) {
        self.killed.insert(number);
    }

    /// Notes that a worker gets this item, which it must run alone if it was killed.
    pub(crate) fn handed_to_worker(&mut self, number: u64, token: Token) {
        if self.killed.contains(&number) {
            self.alone.push(token);
        }
    }

    /// Returns `true` if this delivery must run alone.
    pub(crate) fn must_be_alone(&self, token: Token) -> bool {
        self.alone.contains(&token)
    }

    /// Notes that a client has said that its item is done, and was told that this counts.
    pub(crate) fn acknowledged(&mut self, number: u64, token: Token) {
        if !self.is_revoked(token) {
            self.acknowledged.insert(number, token);
        }
    }

    pub(crate) fn revoke(&mut self, token: Token) {
        self.acknowledged.retain(|_, other| *other != token);
        self.revoked.push(token);
    }

    pub(crate) fn is_revoked(&self, token: Token) -> bool {
        self.revoked.contains(&token)
    }

    /// Notes an acknowledgement by a store: the item is done without a report.
    pub(crate) fn ended_quietly(&mut self, number: u64) {
        let item = self.item(number);
        assert!(!item.is_quiet && item.end_told.is_none(), "two ends");
        item.is_quiet = true;
    }

    pub(crate) fn done_told(&mut self, number: u64, result: u64, step: u64) {
        assert_eq!(number, result, "the result of another item");
        assert!(!self.item(number).is_quiet, "item {number} is done already");
        let told = self.item(number).end_told.replace((End::Done, step));
        assert_eq!(told, None, "item {number} has its end already");
    }

    /// Notes that the output of an item was shown.
    pub(crate) fn output_shown(&mut self, number: u64) {
        assert!(self.shown.insert(number), "two outputs of item {number}");
    }

    pub(crate) fn retry_told(&mut self, number: u64, attempt: u32, step: u64) {
        let item = self.item(number);
        // It may be done by now: an acknowledgement by a store does not wait for the disk.
        assert!(attempt <= item.failures, "attempt {attempt} did not fail");
        let before = item.retry_told.replace((attempt, step));
        let is_new = before.is_none_or(|(before, _)| before < attempt);
        assert!(is_new, "attempt {attempt} of item {number} failed twice");
    }

    /// Returns `true` if an item was a dead letter, and is tried again.
    pub(crate) fn is_revived(&self, number: u64) -> bool {
        let place = usize::try_from(number).expect("few items");
        self.items[place].forgiven > 0
    }

    pub(crate) fn is_end_told(&mut self, number: u64) -> bool {
        let item = self.item(number);
        item.end_told.is_some() || item.is_quiet
    }

    pub(crate) fn dead_told(
        &mut self,
        letter: &DeadLetter<Envelope>,
        step: u64,
        max_attempts: u32,
    ) {
        let number = letter.payload.number;
        let last = letter.history.last().map(|last| &last.cause);
        let is_final = matches!(
            last,
            Some(
                Cause::Cancelled
                    | Cause::OutOfMemoryAlone(_)
                    | Cause::DeadlinePassed
                    | Cause::DependencyFailed(_)
            )
        );
        let item = self.item(number);
        let counted = item.failures - item.forgiven;
        assert!(!item.is_quiet, "item {number} is done already");
        assert!(
            is_final || counted == max_attempts,
            "item {number} is given up after {counted} attempts"
        );
        assert_eq!(letter.history.len(), item.failures as usize);
        let told = item.end_told.replace((End::Dead, step));
        assert_eq!(told, None, "item {number} has its end already");
    }

    pub(crate) fn revived(&mut self, number: u64) {
        let item = self.item(number);
        assert!(matches!(item.end_told, Some((End::Dead, _))));
        item.end_told = None;
        item.forgiven = item.failures;
        self.killed.remove(&number);
    }

    /// Checks the report that all is settled.
    pub(crate) fn joined(&self) {
        for (item, number) in self.items.iter().zip(0..) {
            let is_ended = item.end_told.is_some() || item.is_quiet;
            let is_open = item.put_told.is_some() && !is_ended;
            assert!(!is_open, "join returned before item {number} was settled");
        }
    }

    /// Checks that the state that a supervisor found breaks no promise. `is_excused` is true if
    /// power failed, and commits are not synced one by one.
    pub(crate) fn recovered(&mut self, lines: &Lines, is_excused: bool, step: u64) {
        self.revoked.clear();
        self.acknowledged.clear();
        self.votes.clear();
        self.shown.clear();
        self.alone.clear();
        // What the disk knows of them is for the ledger to find.
        self.killed.clear();
        let synced = self.synced;
        let may_break = |told: u64| is_excused && told >= synced;
        let mut is_there = vec![None; self.items.len()];
        for line in lines.values() {
            is_there[usize::try_from(line.number).expect("few items")] = Some(line);
        }
        for ((item, line), number) in self.items.iter_mut().zip(is_there).zip(0..) {
            // An item that is done without a report may have to be done again.
            item.is_quiet = false;
            let Some(line) = line else {
                let told = item.put_told.filter(|told| !may_break(*told));
                assert_eq!(told, None, "item {number} was accepted, and is lost");
                let ended = item.end_told.filter(|(_, told)| !may_break(*told));
                assert_eq!(ended, None, "the end of {number} was told, and is lost");
                *item = Item::default();
                continue;
            };
            if let Some((end, told)) = item.end_told
                && line.end != Some(end)
            {
                let why = "its end was told, and is not true any more";
                assert!(may_break(told), "item {number}: {why}");
                item.end_told = None;
            }
            (item.failures, item.forgiven) = line.attempts();
            if let Some((attempt, told)) = item.retry_told
                && item.failures < attempt
            {
                assert!(may_break(told), "item {number}: a failure is forgotten");
                item.retry_told = None;
            }
            // An end that was read again is as good as reported.
            if let Some(end) = line.end {
                item.end_told.get_or_insert((end, step));
            }
        }
    }

    /// Checks the end of the run: every accepted item has its end.
    pub(crate) fn check_end(&self) {
        self.joined();
    }

    /// Returns an item of the disk to be asked for.
    pub(crate) fn some_id(&self, number: u64) -> ItemId {
        ItemId(number % (self.items.len() as u64 + 2))
    }
}
