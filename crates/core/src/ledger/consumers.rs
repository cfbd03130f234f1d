//! The holders, and the order in which they are served.
//!
//! An idle worker gets an item at once. A busy one is refilled when its acknowledgements come back,
//! up to its credit and its fair share of what waits, so batches grow by themselves and no worker
//! is overloaded. Waking a worker costs as much as hundreds of tiny items. While one is fast, that
//! is busy with tiny items, and a few wait, they are left to it and no other worker is woken. It
//! knows holders and numbers, but no item.

use alloc::collections::VecDeque;
use core::ops::RangeInclusive;
use core::time::Duration;

use slotmap::SlotMap;

use super::turn::Turn;
use super::{Credit, HolderId};

/// The number of items that must wait before another worker is woken while one is fast: tiny items
/// take a tenth to a fifth of a microsecond each, and waking a worker some fifty.
pub const WORTH_WAKING: usize = 256;

/// The total time from which the items that a worker has in advance count as long.
const LONG: Duration = Duration::from_millis(2);

#[derive(Debug)]
struct Holder {
    /// `None` for a holder that asks by itself.
    credit: Option<Credit>,
    /// True if it stands for any number of threads.
    is_many: bool,
    is_open: bool,
    outstanding: u64,
    bytes: usize,
    ordinal: u64,
    /// The last ordinal of the deliveries that it has reported in bulk to be through with.
    through: u64,
    /// The number of deliveries that it may get in all.
    quota: u64,
    is_in_idle_line: bool,
    is_in_refill_line: bool,
    /// The last ordinal of the deliveries that it was asked to give back.
    asked_back: u64,
}

/// The counts of one holder, or of all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct HolderCounts {
    /// Workers that may get more.
    workers: usize,
    /// Those of them that hold nothing.
    idle: usize,
    /// Holders of any kind that hold something.
    busy: usize,
    /// Workers that are busy with tiny items.
    fast: usize,
    /// Workers that have items in advance, and were not asked to give them back.
    ahead: usize,
    /// Those of them that these items will keep busy for long.
    overloaded: usize,
    /// The deliveries that workers have besides the one that they work on.
    prefetched: u64,
}

impl Holder {
    fn is_worker(&self) -> bool {
        self.is_open && self.credit.is_some()
    }

    fn is_idle(&self) -> bool {
        self.is_worker() && self.outstanding == 0
    }

    fn is_fast(&self) -> bool {
        let is_fast = self.credit.is_some_and(|credit| credit.is_fast());
        self.is_open && is_fast && self.outstanding > 0
    }

    fn prefetched(&self) -> u64 {
        match self.credit {
            Some(_) => self.outstanding.saturating_sub(1),
            None => 0,
        }
    }

    fn is_ahead(&self) -> bool {
        self.prefetched() > 0 && self.asked_back < self.ordinal
    }

    fn is_overloaded(&self) -> bool {
        let backlog = |credit: Credit| credit.time_of(self.prefetched());
        self.is_ahead() && self.credit.is_some_and(|credit| backlog(credit) >= LONG)
    }

    fn may_take(&self, weight: usize) -> bool {
        let allows = |credit: Credit| credit.allows(self.outstanding, self.bytes, weight);
        self.is_open && self.credit.is_some_and(allows)
    }

    fn tally(&self) -> HolderCounts {
        HolderCounts {
            workers: usize::from(self.is_worker()),
            idle: usize::from(self.is_idle()),
            busy: usize::from(self.outstanding > 0),
            fast: usize::from(self.is_fast()),
            ahead: usize::from(self.is_ahead()),
            overloaded: usize::from(self.is_overloaded()),
            prefetched: self.prefetched(),
        }
    }
}

impl HolderCounts {
    fn replace(&mut self, before: HolderCounts, after: HolderCounts) {
        self.workers = self.workers + after.workers - before.workers;
        self.idle = self.idle + after.idle - before.idle;
        self.busy = self.busy + after.busy - before.busy;
        self.fast = self.fast + after.fast - before.fast;
        self.ahead = self.ahead + after.ahead - before.ahead;
        self.overloaded = self.overloaded + after.overloaded - before.overloaded;
        self.prefetched = self.prefetched + after.prefetched - before.prefetched;
    }
}

#[derive(Debug, Default)]
pub(super) struct Consumers {
    holders: SlotMap<HolderId, Holder>,
    /// Workers that became idle, longest idle first. Some of them may no longer be idle.
    idle_line: VecDeque<HolderId>,
    /// The last worker that became idle after tiny items. It is most likely still awake.
    recent: Option<HolderId>,
    /// Busy workers that acknowledged something since their last refill.
    refill_line: VecDeque<HolderId>,
    /// The holder that is being served, and the number of items that it still gets in this turn.
    turn: Option<(HolderId, usize)>,
    /// Holders that have had all the deliveries they may get, and have settled them.
    worn_line: VecDeque<HolderId>,
    /// Workers that are to give back what they have not begun.
    recalled: VecDeque<HolderId>,
    tally: HolderCounts,
}

impl Consumers {
    pub(super) fn join(&mut self, credit: Option<Credit>, quota: u64) -> HolderId {
        let is_worker = credit.is_some();
        let holder = Holder {
            credit,
            is_many: false,
            is_open: true,
            outstanding: 0,
            bytes: 0,
            ordinal: 0,
            through: 0,
            quota: quota.max(1),
            is_in_idle_line: is_worker,
            is_in_refill_line: false,
            asked_back: 0,
        };
        self.tally.replace(HolderCounts::default(), holder.tally());
        let id = self.holders.insert(holder);
        if is_worker {
            self.idle_line.push_back(id);
        }
        id
    }

    /// Adds a holder that stands for any number of threads.
    pub(super) fn join_threads(&mut self) -> HolderId {
        let id = self.join(None, u64::MAX);
        self.change(id, |holder| holder.is_many = true);
        id
    }

    /// Changes a holder, and the counts of all of them.
    fn change<R>(&mut self, id: HolderId, change: impl FnOnce(&mut Holder) -> R) -> Option<R> {
        let holder = self.holders.get_mut(id)?;
        let before = holder.tally();
        let result = change(holder);
        self.tally.replace(before, holder.tally());
        Some(result)
    }

    pub(super) fn stop(&mut self, id: HolderId) {
        self.change(id, |holder| holder.is_open = false);
    }

    pub(super) fn leave(&mut self, id: HolderId) {
        if let Some(holder) = self.holders.remove(id) {
            self.tally.replace(holder.tally(), HolderCounts::default());
        }
    }

    /// Returns `true` if this holder stands for any number of threads.
    pub(super) fn is_many(&self, id: HolderId) -> bool {
        self.holders.get(id).is_some_and(|holder| holder.is_many)
    }

    /// Returns `true` if the holder exists and was not stopped.
    pub(super) fn is_open(&self, id: HolderId) -> bool {
        self.holders.get(id).is_some_and(|holder| holder.is_open)
    }

    pub(super) fn is_worker(&self, id: HolderId) -> bool {
        let holder = self.holders.get(id);
        holder.is_some_and(|holder| holder.credit.is_some())
    }

    /// Returns `true` if this worker is relied on to come back soon: it has items in advance, or
    /// keeps others from being woken.
    pub(super) fn is_relied_on(&self, id: HolderId) -> bool {
        let holder = self.holders.get(id);
        holder.is_some_and(|holder| holder.is_ahead() || holder.is_fast())
    }

    pub(super) fn outstanding(&self, id: HolderId) -> usize {
        let outstanding = self.holders.get(id).map_or(0, |holder| holder.outstanding);
        usize::try_from(outstanding).unwrap_or(usize::MAX)
    }

    pub(super) fn last_ordinal(&self, id: HolderId) -> u64 {
        self.holders.get(id).map_or(0, |holder| holder.ordinal)
    }

    /// Returns the number of items that workers may have beyond those that they have.
    pub(super) fn appetite(&self) -> u64 {
        let open = self.holders.values().filter(|holder| holder.is_open);
        let room = open.filter_map(|holder| {
            let room = holder.credit?.items().saturating_sub(holder.outstanding);
            Some(room.min(holder.quota.saturating_sub(holder.ordinal)))
        });
        room.sum()
    }

    pub(super) fn idle(&self) -> usize {
        self.tally.idle
    }

    pub(super) fn busy(&self) -> usize {
        self.tally.busy
    }

    pub(super) fn prefetched(&self) -> usize {
        usize::try_from(self.tally.prefetched).unwrap_or(usize::MAX)
    }

    /// Returns `true` if one of `waiting` items should be handed out now.
    pub(super) fn has_idle_taker(&self, waiting: usize) -> bool {
        self.tally.idle > 0 && self.is_worth_waking(waiting)
    }

    /// Returns `true` if there may be a worker that gets the next of `waiting` items.
    pub(super) fn has_takers(&self, waiting: usize) -> bool {
        let is_busy_one = !self.refill_line.is_empty() || self.turn.is_some();
        is_busy_one || self.has_idle_taker(waiting)
    }

    /// Returns `true` if items wait for a worker that is relied on, while another one is idle.
    pub(super) fn is_relying(&self, waiting: usize) -> bool {
        let waits = self.tally.ahead > 0 || (self.tally.fast > 0 && waiting > 0);
        self.tally.idle > 0 && waits
    }

    fn is_worth_waking(&self, waiting: usize) -> bool {
        self.tally.fast == 0 || waiting >= WORTH_WAKING
    }

    pub(super) fn take(&mut self, id: HolderId, weight: usize) -> u64 {
        let taken = self.change(id, |holder| {
            holder.outstanding += 1;
            holder.bytes += weight;
            holder.ordinal += 1;
            (holder.ordinal, holder.ordinal >= holder.quota)
        });
        let Some((ordinal, is_last)) = taken else {
            return 0;
        };
        if is_last {
            self.stop(id);
        }
        ordinal
    }

    /// Notes that a holder is through with its deliveries up to this one, and returns the ordinals
    /// that this settles; `None` if the holder is gone or was never given that many.
    pub(super) fn settle_through(
        &mut self,
        id: HolderId,
        through: u64,
    ) -> Option<RangeInclusive<u64>> {
        let holder = self.holders.get_mut(id)?;
        if through > holder.ordinal || through <= holder.through {
            return None;
        }
        let run = holder.through + 1..=through;
        holder.through = through;
        Some(run)
    }

    /// Notes that a worker has been at one item for this long. Returns `true` if it has others, and
    /// was not asked for them yet.
    pub(super) fn restrain(&mut self, id: HolderId, service: Duration) -> bool {
        let is_ahead = self.change(id, |holder| {
            if let Some(credit) = &mut holder.credit {
                credit.restrain(service);
            }
            let is_ahead = holder.is_ahead();
            holder.asked_back = holder.ordinal;
            is_ahead
        });
        is_ahead.unwrap_or(false)
    }

    /// Counts a settled delivery, and puts its worker in line for more.
    pub(super) fn release(&mut self, id: HolderId, weight: usize, service: Option<Duration>) {
        self.release_many(id, 1, weight, service);
    }

    /// Counts settled deliveries of this total weight.
    pub(super) fn release_many(
        &mut self,
        id: HolderId,
        count: u64,
        weight: usize,
        service: Option<Duration>,
    ) {
        if count == 0 {
            return;
        }
        self.change(id, |holder| {
            holder.outstanding -= count;
            holder.bytes -= weight;
            if let (Some(credit), Some(service)) = (&mut holder.credit, service) {
                credit.observe_many(service, count);
            }
        });
        let Some(holder) = self.holders.get_mut(id) else {
            return;
        };
        if holder.ordinal >= holder.quota && holder.outstanding == 0 {
            self.worn_line.push_back(id);
        }
        if holder.is_idle() {
            if holder.credit.is_some_and(|credit| credit.is_fast()) {
                self.recent = Some(id);
            }
            if !holder.is_in_idle_line {
                holder.is_in_idle_line = true;
                self.idle_line.push_back(id);
            }
        } else if holder.credit.is_some() && !holder.is_in_refill_line {
            holder.is_in_refill_line = true;
            self.refill_line.push_back(id);
        }
    }

    /// Returns a worker that has work for long while another one has none: what it has not begun
    /// should go back. It is named once for the same items.
    pub(super) fn poll_overloaded(&mut self) -> Option<HolderId> {
        if self.tally.idle == 0 || self.tally.overloaded == 0 {
            return None;
        }
        // Those that would not wake another one would only come back.
        let is_one = |holder: &Holder| {
            let prefetched = usize::try_from(holder.prefetched()).unwrap_or(usize::MAX);
            holder.is_overloaded() && self.is_worth_waking(prefetched)
        };
        let mut holders = self.holders.iter();
        let (id, _) = holders.find(|(_, holder)| is_one(holder))?;
        self.change(id, |holder| holder.asked_back = holder.ordinal);
        Some(id)
    }

    /// Asks all workers for what they have not begun. Even a single delivery may not be begun yet.
    pub(super) fn recall_all(&mut self) {
        let holders = self.holders.iter();
        let holding =
            holders.filter(|(_, holder)| holder.credit.is_some() && holder.outstanding > 0);
        self.recalled = holding.map(|(id, _)| id).collect();
    }

    /// Returns the next worker that is to give back what it has not begun.
    pub(super) fn poll_recalled(&mut self) -> Option<HolderId> {
        let id = self.recalled.pop_front()?;
        self.change(id, |holder| holder.asked_back = holder.ordinal);
        Some(id)
    }

    /// Returns the next holder that has had all the deliveries it may get.
    pub(super) fn poll_worn(&mut self) -> Option<HolderId> {
        self.worn_line.pop_front()
    }

    /// Returns the number of deliveries that are not settled.
    pub(super) fn outstanding_in_all(&self) -> u64 {
        let outstanding = self.holders.values().map(|holder| holder.outstanding);
        outstanding.sum()
    }

    /// Returns the holder that gets the next of `waiting` items, which weighs `weight` bytes.
    pub(super) fn next_taker(&mut self, waiting: usize, weight: usize) -> Option<HolderId> {
        if let Some((id, left)) = self.turn.take()
            && left > 0
            && self.holders.get(id).is_some_and(|h| h.may_take(weight))
        {
            self.turn = Some((id, left - 1));
            return Some(id);
        }
        let share = waiting.div_ceil(self.tally.workers.max(1));
        let idle = match self.is_worth_waking(waiting) {
            true => self.next_recent(waiting).or_else(|| self.next_idle()),
            false => None,
        };
        let id = idle.or_else(|| self.next_refill(weight))?;
        self.turn = Some((id, share - 1));
        Some(id)
    }

    /// Takes the turn that is under way, if its holder may still get more; the caller gives it
    /// back.
    pub(super) fn take_turn(&mut self) -> Option<Turn> {
        let (id, left) = self.turn?;
        let holder = self.holders.get(id).filter(|holder| holder.is_open)?;
        Some(Turn {
            id,
            credit: holder.credit?,
            left,
            outstanding: holder.outstanding,
            bytes: holder.bytes,
            ordinal: holder.ordinal,
            quota: holder.quota,
        })
    }

    /// Counts what was taken in a turn.
    pub(super) fn give_turn_back(&mut self, turn: Turn) {
        self.change(turn.id, |holder| {
            holder.outstanding = turn.outstanding;
            holder.bytes = turn.bytes;
            holder.ordinal = turn.ordinal;
        });
        self.turn = Some((turn.id, turn.left));
        if turn.ordinal >= turn.quota {
            self.stop(turn.id);
        }
    }

    /// Ends the turn, because nothing waits any more: the next holder is chosen afresh.
    pub(super) fn end_turn(&mut self) {
        self.turn = None;
    }

    /// Takes the worker that was busy with tiny items until just now, for the same reason for which
    /// no other one is woken while it is busy.
    fn next_recent(&mut self, waiting: usize) -> Option<HolderId> {
        let id = self.recent.take()?;
        let holder = self.holders.get(id)?;
        // It keeps its place in the line of idle ones, and is skipped there while it is busy.
        (waiting < WORTH_WAKING && holder.is_idle()).then_some(id)
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

    /// Returns a worker that is idle and none of these, longest idle first.
    pub(super) fn next_idle_but(&mut self, others: &[HolderId]) -> Option<HolderId> {
        let holders = &self.holders;
        let is_idle = |id: &HolderId| holders.get(*id).is_some_and(Holder::is_idle);
        let mut line = self.idle_line.iter();
        let place = line.position(|id| is_idle(id) && !others.contains(id))?;
        let id = self.idle_line.remove(place)?;
        self.change(id, |holder| holder.is_in_idle_line = false);
        Some(id)
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
