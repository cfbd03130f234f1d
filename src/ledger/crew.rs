//! The holders, and whose turn it is.
//!
//! An idle worker gets an item at once; a busy one is refilled when its acknowledgements come
//! back, up to its credit and to its fair share of what waits, so that batches grow by themselves
//! and nobody hoards. It knows holders and numbers, but no item.

use std::collections::VecDeque;
use std::time::Duration;

use slotmap::SlotMap;

use super::{Credit, HolderId};

#[derive(Debug)]
struct Holder {
    /// `None` for a holder that asks by itself.
    credit: Option<Credit>,
    is_open: bool,
    outstanding: u64,
    bytes: usize,
    ordinal: u64,
    /// How many deliveries it may get in all.
    quota: u64,
    is_in_idle_line: bool,
    is_in_refill_line: bool,
}

impl Holder {
    fn is_idle(&self) -> bool {
        self.is_open && self.credit.is_some() && self.outstanding == 0
    }

    fn may_take(&self, weight: usize) -> bool {
        self.is_open
            && self
                .credit
                .is_some_and(|credit| credit.allows(self.outstanding, self.bytes, weight))
    }

    /// One of a worker's items is being worked on; the others are only prefetched.
    fn prefetched(&self) -> u64 {
        match self.credit {
            Some(_) => self.outstanding.saturating_sub(1),
            None => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Crew {
    holders: SlotMap<HolderId, Holder>,
    /// Workers that became idle, longest idle first. May name some that no longer are.
    idle_line: VecDeque<HolderId>,
    /// Busy workers that acknowledged something since their last refill.
    refill_line: VecDeque<HolderId>,
    /// Who is being served, and how many more items it gets in this turn.
    turn: Option<(HolderId, usize)>,
    /// Those that had all the deliveries they may get, and settled them.
    worn_line: VecDeque<HolderId>,
    idle: usize,
    workers: usize,
    prefetched: u64,
}

impl Crew {
    pub(super) fn join(&mut self, credit: Option<Credit>, quota: u64) -> HolderId {
        let is_worker = credit.is_some();
        let id = self.holders.insert(Holder {
            credit,
            is_open: true,
            outstanding: 0,
            bytes: 0,
            ordinal: 0,
            quota: quota.max(1),
            is_in_idle_line: is_worker,
            is_in_refill_line: false,
        });
        if is_worker {
            self.idle += 1;
            self.workers += 1;
            self.idle_line.push_back(id);
        }
        id
    }

    pub(super) fn stop(&mut self, id: HolderId) {
        let Some(holder) = self.holders.get_mut(id) else {
            return;
        };
        if holder.is_open && holder.credit.is_some() {
            self.workers -= 1;
            self.idle -= usize::from(holder.is_idle());
        }
        holder.is_open = false;
    }

    pub(super) fn leave(&mut self, id: HolderId) {
        self.stop(id);
        if let Some(holder) = self.holders.remove(id) {
            self.prefetched -= holder.prefetched();
        }
    }

    /// Whether the holder is there and was not stopped.
    pub(super) fn is_open(&self, id: HolderId) -> bool {
        self.holders.get(id).is_some_and(|holder| holder.is_open)
    }

    pub(super) fn is_worker(&self, id: HolderId) -> bool {
        self.holders
            .get(id)
            .is_some_and(|holder| holder.credit.is_some())
    }

    pub(super) fn outstanding(&self, id: HolderId) -> usize {
        let outstanding = self.holders.get(id).map_or(0, |holder| holder.outstanding);
        usize::try_from(outstanding).unwrap_or(usize::MAX)
    }

    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    pub(super) fn prefetched(&self) -> usize {
        usize::try_from(self.prefetched).unwrap_or(usize::MAX)
    }

    /// Counts a delivery of `weight` bytes and returns its ordinal.
    pub(super) fn take(&mut self, id: HolderId, weight: usize) -> u64 {
        let Some(holder) = self.holders.get_mut(id) else {
            return 0;
        };
        self.idle -= usize::from(holder.is_idle());
        self.prefetched -= holder.prefetched();
        holder.outstanding += 1;
        holder.bytes += weight;
        holder.ordinal += 1;
        self.prefetched += holder.prefetched();
        let ordinal = holder.ordinal;
        if ordinal >= holder.quota {
            self.stop(id);
        }
        ordinal
    }

    /// Counts a settled delivery, and puts its worker in line for more.
    pub(super) fn release(&mut self, id: HolderId, weight: usize, service: Option<Duration>) {
        let Some(holder) = self.holders.get_mut(id) else {
            return;
        };
        self.prefetched -= holder.prefetched();
        holder.outstanding -= 1;
        holder.bytes -= weight;
        self.prefetched += holder.prefetched();
        if let (Some(credit), Some(service)) = (&mut holder.credit, service) {
            credit.observe(service);
        }
        if holder.ordinal >= holder.quota && holder.outstanding == 0 {
            self.worn_line.push_back(id);
        }
        if holder.is_idle() {
            self.idle += 1;
            if !holder.is_in_idle_line {
                holder.is_in_idle_line = true;
                self.idle_line.push_back(id);
            }
        } else if holder.credit.is_some() && !holder.is_in_refill_line {
            holder.is_in_refill_line = true;
            self.refill_line.push_back(id);
        }
    }

    /// The next holder that has had its share for good.
    pub(super) fn poll_worn(&mut self) -> Option<HolderId> {
        self.worn_line.pop_front()
    }

    /// What all holders have and have not settled.
    pub(super) fn outstanding_in_all(&self) -> u64 {
        let outstanding = self.holders.values().map(|holder| holder.outstanding);
        outstanding.sum()
    }

    /// Who gets the next of `waiting` items, which weighs `weight` bytes.
    pub(super) fn next_taker(&mut self, waiting: usize, weight: usize) -> Option<HolderId> {
        if let Some((id, left)) = self.turn.take()
            && left > 0
            && self.holders.get(id).is_some_and(|h| h.may_take(weight))
        {
            self.turn = Some((id, left - 1));
            return Some(id);
        }
        let share = waiting.div_ceil(self.workers.max(1));
        let id = self.next_idle().or_else(|| self.next_refill(weight))?;
        self.turn = Some((id, share - 1));
        Some(id)
    }

    /// Nothing waits any more: whoever is served next is chosen afresh.
    pub(super) fn end_turn(&mut self) {
        self.turn = None;
    }

    fn next_idle(&mut self) -> Option<HolderId> {
        while let Some(id) = self.idle_line.pop_front() {
            let Some(holder) = self.holders.get_mut(id) else {
                continue;
            };
            holder.is_in_idle_line = false;
            if holder.is_idle() {
                return Some(id);
            }
        }
        None
    }

    fn next_refill(&mut self, weight: usize) -> Option<HolderId> {
        while let Some(id) = self.refill_line.pop_front() {
            let Some(holder) = self.holders.get_mut(id) else {
                continue;
            };
            holder.is_in_refill_line = false;
            if holder.may_take(weight) {
                return Some(id);
            }
        }
        None
    }
}
