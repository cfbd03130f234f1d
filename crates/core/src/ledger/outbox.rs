//! The records that must be durable, and the reports that wait for them.
//!
//! With a journal, every change of the ledger leaves a record. Records are taken in writes, one at
//! a time; those that come meanwhile go into the next one, so many changes share one commit. A
//! report waits for the write that holds all records made before it. Without a journal nothing
//! waits. It follows raft-rs' `Ready`, which splits its outputs in the same way. It knows no
//! journal.
//!
//! A million small items must not cost a million records. So small items that are accepted one
//! after the other share one, and so do items done one after the other.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Fate, ItemId, ItemRun, Record, Report, Weight, Write};

#[derive(Debug)]
pub(super) struct Outbox<P, R> {
    is_journaled: bool,
    records: Vec<Record<P>>,
    /// The place in `records` of the run of accepted items that the next one may follow.
    open_run: Option<usize>,
    /// The items accepted in `records`, and those in the write under way.
    staged: usize,
    staged_under_way: usize,
    /// The items accepted in the last write that became durable.
    accepted_last: usize,
    /// The write under way, or else the last one.
    number: u64,
    is_under_way: bool,
    is_broken: bool,
    /// The reports, each with the write that it waits for.
    reports: VecDeque<(u64, Report<P, R>)>,
    /// Those that come before the next one, and wait for what it waits for.
    ahead: Vec<Report<P, R>>,
}

impl<P, R> Outbox<P, R> {
    pub(super) fn new(is_journaled: bool) -> Self {
        Outbox {
            is_journaled,
            records: Vec::new(),
            open_run: None,
            staged: 0,
            staged_under_way: 0,
            accepted_last: 0,
            number: 0,
            is_under_way: false,
            is_broken: false,
            reports: VecDeque::new(),
            ahead: Vec::new(),
        }
    }

    pub(super) fn is_journaled(&self) -> bool {
        self.is_journaled
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    pub(super) fn record(&mut self, record: impl FnOnce() -> Record<P>) {
        if self.is_journaled {
            self.records.push(record());
        }
    }

    /// Records the end of an item that is done.
    pub(super) fn done(&mut self, id: ItemId) {
        if !self.is_journaled {
            return;
        }
        match self.records.last_mut() {
            Some(Record::Done { last, .. }) if last.0 + 1 == id.0 => *last = id,
            _ => self.records.push(Record::done(id)),
        }
    }

    /// Makes this report when all that was recorded so far is durable.
    pub(super) fn report(&mut self, report: Report<P, R>) {
        self.report_ahead();
        self.reports.push_back((self.last_write(), report));
    }

    /// Makes this report ahead of the next one, whose records are still to come: what a copy said
    /// counts when the end of its item is durable. The next report comes in the same call.
    pub(super) fn report_with_next(&mut self, report: Report<P, R>) {
        self.ahead.push(report);
    }

    /// Waits with those reports for no more than was recorded so far.
    pub(super) fn report_ahead(&mut self) {
        let after = self.last_write();
        let ahead = self.ahead.drain(..).map(|report| (after, report));
        self.reports.extend(ahead);
    }

    /// Returns the number of the write with which all that was recorded so far is durable.
    pub(super) fn last_write(&self) -> u64 {
        if !self.records.is_empty() {
            self.number + 1
        } else if self.is_under_way {
            self.number
        } else {
            0
        }
    }

    /// Returns `true` if this write and all before it are durable.
    pub(super) fn is_written_up_to(&self, write: u64) -> bool {
        match self.is_under_way || self.is_broken {
            true => write < self.number,
            false => write <= self.number,
        }
    }

    /// Drops the records of this item that are not under way yet, and returns what they said of it,
    /// if anything.
    pub(super) fn withdraw(&mut self, id: ItemId) -> Option<Fate> {
        let mut fate = None;
        let mut rest = None;
        self.open_run = None;
        self.records.retain_mut(|record| {
            fate = Some(match record {
                Record::Done { first, last } if (*first..=*last).contains(&id) => {
                    rest = Some((*first, *last));
                    Fate::Done
                }
                Record::Dead { id: one, .. } if *one == id => Fate::Dead,
                Record::Failed { id: one, .. } if *one == id => Fate::Open,
                Record::Done { .. }
                | Record::Dead { .. }
                | Record::Failed { .. }
                | Record::Accepted { .. }
                | Record::AcceptedRun { .. }
                | Record::Over { .. }
                | Record::Shown { .. } => return true,
            });
            false
        });
        if let Some((first, last)) = rest {
            let others = (first.0..=last.0).map(ItemId).filter(|one| *one != id);
            others.for_each(|one| self.done(one));
        }
        fate
    }

    pub(super) fn retract(&mut self, id: ItemId) {
        self.reports.retain(|(_, report)| report.id() != id);
    }

    pub(super) fn poll_report(&mut self) -> Option<Report<P, R>> {
        let (after, _) = self.reports.front()?;
        match self.is_written_up_to(*after) {
            true => self.reports.pop_front().map(|(_, report)| report),
            false => None,
        }
    }

    pub(super) fn has_write(&self) -> bool {
        !self.is_under_way && !self.is_broken && !self.records.is_empty()
    }

    /// Returns the number of items accepted in the last write that became durable.
    pub(super) fn accepted_last(&self) -> usize {
        self.accepted_last
    }

    /// Returns `true` if a report waits to be made.
    pub(super) fn has_reports(&self) -> bool {
        !self.reports.is_empty()
    }

    /// Returns `true` if all records are durable, or never will be.
    pub(super) fn is_written(&self) -> bool {
        self.is_broken || (!self.is_under_way && self.records.is_empty())
    }

    /// Returns the next write; nothing while a write is under way, or after one has failed.
    pub(super) fn poll_write(&mut self) -> Option<Write<P>> {
        if !self.has_write() {
            return None;
        }
        self.is_under_way = true;
        self.number += 1;
        self.staged_under_way = core::mem::take(&mut self.staged);
        self.open_run = None;
        Some(Write {
            number: self.number,
            records: core::mem::take(&mut self.records),
        })
    }

    /// Notes that the write under way is durable, and returns the number of items accepted in it.
    pub(super) fn written(&mut self, number: u64) -> usize {
        if !self.is_under_way || number != self.number {
            return 0;
        }
        self.is_under_way = false;
        self.accepted_last = core::mem::take(&mut self.staged_under_way);
        self.accepted_last
    }

    /// Notes that the write under way failed; there will be no other.
    pub(super) fn break_off(&mut self) {
        self.is_broken = true;
        self.is_under_way = false;
        self.staged_under_way = 0;
        self.staged = 0;
        // A report that waits for a write waits for ever.
        self.number = self.number.max(1);
        self.open_run = None;
        self.records.clear();
    }

    /// Returns `true` if everything is durable, and every report was made.
    pub(super) fn is_clear(&self) -> bool {
        !self.is_under_way && self.records.is_empty() && self.reports.is_empty() && !self.is_broken
    }
}

impl<P: Weight + Clone, R> Outbox<P, R> {
    /// Records an accepted item. A small one is copied at once: a payload that is kept until it is
    /// written costs two more changes of a count that several threads share.
    #[inline]
    pub(super) fn accept(&mut self, id: ItemId, payload: &P) {
        if !self.is_journaled {
            return;
        }
        self.staged += 1;
        let Some(body) = payload.small_body() else {
            self.open_run = None;
            let payload = payload.clone();
            self.records.push(Record::Accepted { id, payload });
            return;
        };
        let open = self.open_run.and_then(|place| self.records.get_mut(place));
        if let Some(Record::AcceptedRun { run, .. }) = open
            && !run.is_full_with(body.len())
        {
            run.push(body);
        } else {
            self.open_run = Some(self.records.len());
            let run = ItemRun::of(body);
            self.records.push(Record::AcceptedRun { first: id, run });
        }
    }
}
