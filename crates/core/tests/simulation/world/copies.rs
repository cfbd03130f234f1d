//! The copies of items in this world: their beginnings, their ends, and those that are stopped. The
//! votes are counted apart, and must come to the same as the ledger.

use std::collections::BTreeSet;

use dishrack_core::ledger::{Cause, Copies, CopyEnd, CopyReport, Handed, HolderId, Token};

use super::{World, note};
use crate::dispatcher::Outcome;
use crate::envelope::Envelope;
use crate::planted::Plant;
use crate::process::{Down, Job};
use crate::votes;

impl World {
    pub(super) fn policy(&self) -> Option<Copies> {
        self.plan.options.copies
    }

    pub(super) fn copy_begun(&mut self, handed: &Handed, number: u64, policy: Copies) {
        self.coverage.copies_begun += u64::from(handed.copy > 1);
        let is_thread = self.life.threads == Some(handed.holder);
        self.truth.votes.begin(*handed, number, policy, is_thread);
    }

    pub(super) fn copy_said(&mut self, number: u64, token: Token, result: Option<u64>) {
        self.truth.votes.said(number, token, result);
        if self.decide(number) && result.is_none() {
            self.truth.ended_quietly(number);
        }
    }

    /// Notes that a copy failed for this cause; `None`: its worker died, which is no vote.
    pub(super) fn copy_failed(&mut self, number: u64, token: Token, cause: Option<&Cause>) {
        let words = match cause {
            Some(Cause::Nack(why)) if why == "no" => Some("no"),
            Some(Cause::Nack(_)) => Some("later"),
            Some(Cause::Panicked(_)) => Some("panicked"),
            Some(Cause::Dropped) => Some("dropped"),
            _ => None,
        };
        self.truth.votes.failed(number, token, words);
        self.decide(number);
    }

    /// Decides what follows from what the copies of an item said. Returns `true` if it is done.
    fn decide(&mut self, number: u64) -> bool {
        let policy = self.policy().expect("it has copies");
        let further = self.further(number);
        let needed = policy.needed() as usize;
        let lacks = needed > 1 && self.life.workers() < needed;
        let outcome = self.truth.votes.decide(number, policy, further, lacks);
        let (is_done, stopped) = match outcome {
            votes::Outcome::Open => return false,
            votes::Outcome::Done(stopped) => (true, stopped),
            votes::Outcome::Failed(stopped) => (false, stopped),
        };
        for token in stopped {
            self.truth.revoke(token);
        }
        if !is_done {
            self.coverage.attempts_without_agreement += u64::from(policy.needed() > 1);
            self.truth.failed(number);
        }
        is_done
    }

    /// Returns the number of workers that may still begin a copy of this item.
    fn further(&self, number: u64) -> usize {
        let used = self.truth.votes.holders(number);
        if used.iter().any(|one| self.life.threads == Some(*one)) {
            return usize::MAX;
        }
        let ledger = &self.life.dispatcher.ledger;
        let alive = used.iter().filter(|one| ledger.is_open(**one));
        self.life.workers().saturating_sub(alive.count())
    }

    /// Tells the ledger how many workers there are, and decides what waits for one.
    pub(super) fn count_workers(&mut self) {
        let workers = self.life.workers();
        let ledger = &mut self.life.dispatcher.ledger;
        ledger.handle_workers(workers, self.now);
        for number in self.truth.votes.numbers() {
            self.decide(number);
        }
    }

    /// Returns the copies that a holder has.
    pub(super) fn copies_of(&self, holder: HolderId) -> Vec<(u64, Token)> {
        if self.policy().is_none() {
            return Vec::new();
        }
        let dispatcher = &self.life.dispatcher;
        let handed = (1..=400).filter_map(|ordinal| dispatcher.ledger.handed_as(holder, ordinal));
        let mut copies: Vec<Handed> = handed.collect();
        copies.sort_by_key(|one| one.id);
        let named = copies
            .iter()
            .map(|one| (dispatcher.numbers[&one.id], one.token));
        named.collect()
    }

    /// Notes that a holder has left with these copies, of which one has failed.
    pub(super) fn copies_left(&mut self, copies: Vec<(u64, Token)>, failed: Option<Token>) {
        for (number, token) in copies {
            match Some(token) == failed {
                true => self.copy_failed(number, token, None),
                false => self.copy_returned(number, token),
            }
        }
    }

    /// Notes that a copy was given back, and decides what waited for it.
    pub(super) fn copy_returned(&mut self, number: u64, token: Token) {
        self.truth.votes.returned(number, token);
        self.decide(number);
    }

    /// Stops a copy that is not needed any more.
    pub(super) fn stop_copy(&mut self, handed: Handed) {
        note!(
            self,
            "copy {} of item {} is stopped",
            handed.copy,
            handed.id
        );
        self.coverage.copies_stopped += 1;
        assert!(self.truth.is_revoked(handed.token), "it is needed");
        if let Some(index) = self.life.slot_of(handed.holder) {
            let slot = &mut self.life.slots[index];
            if slot.process.is_some() {
                slot.down.push_back(Down::Revoke(handed.token));
            }
        }
    }

    pub(super) fn copy_told(&mut self, copy: &CopyReport<Envelope>) {
        note!(
            self,
            "copy {} of item {}: {:?}",
            copy.handed.copy,
            copy.handed.id,
            copy.end
        );
        self.coverage.copies_told += 1;
        self.truth.votes.told(copy);
        let has_output = match copy.end {
            CopyEnd::Counted => true,
            CopyEnd::Disagreed { .. } => {
                self.coverage.copies_disagreed += 1;
                self.is_planted(Plant::LosersShown)
            }
            CopyEnd::Agreed | CopyEnd::Void => self.is_planted(Plant::LosersShown),
            CopyEnd::Failed | CopyEnd::Cancelled => false,
        };
        let has_failed = copy.cause.is_some();
        self.coverage.failures_agreed_on += u64::from(has_failed && copy.end == CopyEnd::Counted);
        let has_output = has_output && !has_failed;
        if has_output {
            self.truth.output_shown(copy.payload.number);
        }
    }

    /// Checks that no worker has two copies of an item.
    pub(super) fn check_copies(&self) {
        if self.policy().is_none() {
            return;
        }
        for slot in &self.life.slots {
            let jobs = slot.process.iter().flat_map(|process| process.jobs());
            let needed = jobs.filter(|job| !self.truth.is_revoked(job.token));
            let mut numbers = BTreeSet::new();
            for job in needed {
                let is_new = numbers.insert(job.number);
                assert!(is_new, "two copies of {} in one worker", job.number);
            }
        }
    }

    /// Returns the worker that has another copy of this item.
    pub(super) fn slot_of_another_copy(&self, handed: &Handed) -> Option<usize> {
        let number = self.life.dispatcher.numbers.get(&handed.id)?;
        let holders = self.truth.votes.holders(*number);
        let others = holders.into_iter().filter(|one| *one != handed.holder);
        let slots = others.filter_map(|one| self.life.slot_of(one));
        let mut living = slots.filter(|index| self.life.slots[*index].process.is_some());
        living.next()
    }

    /// Fails what other copies of this job's item run.
    pub(super) fn fail_other_copies(&mut self, job: Job) {
        let others: Vec<Job> = self.life.jobs().collect();
        for other in others.iter().filter(|one| one.number == job.number) {
            let outcome = Outcome::failed(Cause::Dropped);
            let _ = self.life.dispatcher.end(other.token, outcome, self.now);
        }
    }
}
