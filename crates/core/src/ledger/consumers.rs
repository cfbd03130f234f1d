//! The holders, and the order in which they are served.
//!
//! An idle worker gets an item at once. A busy one is refilled when its acknowledgements come back,
//! up to its credit and its fair share of what waits, so batches grow by themselves and no worker
//! is overloaded. Waking a worker costs as much as hundreds of tiny items. While one is fast, that
//! is busy with tiny items, and a few wait, they are left to it and no other worker is woken.
//!
//! A handler is idle while it holds nothing, or says so: what a `get` within it took may be settled at
//! its next item only. A loop decides itself when it wants an item: it is
//! idle while it waits in a `get`, whatever else it holds, and is handed more in advance only as
//! long as it holds something. The module knows holders and numbers, but no item.

mod holder;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use slotmap::SlotMap;

use self::holder::{Holder, HolderCounts};
use super::turn::Turn;
use super::{Credit, HolderId, Token};

/// The number of items that must wait before another worker is woken while one is fast: tiny items
/// take a tenth to a fifth of a microsecond each, and waking a worker some fifty.
pub const WORTH_WAKING: usize = 256;

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
        let is_handler = credit.is_some_and(|credit| !credit.is_for_loop());
        let holder = Holder {
            credit,
            is_asking: false,
            is_elsewhere: false,
            is_back: false,
            is_many: false,
            is_open: true,
            outstanding: 0,
            bytes: 0,
            ordinal: 0,
            begun: 0,
            begun_held: 0,
            through: 0,
            quota: quota.max(1),
            is_in_idle_line: is_handler,
            is_in_refill_line: false,
            asked_back: 0,
        };
        self.tally.replace(HolderCounts::default(), holder.tally());
        let id = self.holders.insert(holder);
        if is_handler {
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

    /// Returns `true` if it is handed items in advance: a handler, or a loop.
    pub(super) fn is_worker(&self, id: HolderId) -> bool {
        let holder = self.holders.get(id);
        holder.is_some_and(|holder| holder.credit.is_some())
    }

    /// Returns `true` if this worker is at something.
    pub(super) fn is_at_work(&self, id: HolderId) -> bool {
        self.holders.get(id).is_some_and(Holder::is_at_work)
    }

    /// Returns `true` if a worker is at something.
    pub(super) fn is_any_at_work(&self) -> bool {
        self.holders.values().any(Holder::is_at_work)
    }

    /// Returns the number of workers that are at something.
    pub(super) fn at_work(&self) -> usize {
        let holders = self.holders.values();
        holders.filter(|holder| holder.is_at_work()).count()
    }

    pub(super) fn is_loop(&self, id: HolderId) -> bool {
        self.holders.get(id).is_some_and(Holder::is_loop)
    }

    /// Notes whether a worker waits for an item in a `get`.
    pub(super) fn set_asking(&mut self, id: HolderId, is_asking: bool) {
        self.change(id, |holder| {
            holder.is_asking = is_asking && holder.credit.is_some();
            holder.is_elsewhere &= !is_asking;
        });
        self.line_up_if_idle(id);
    }

    /// Returns the last delivery that a worker is known to have begun.
    pub(super) fn begun(&self, id: HolderId) -> u64 {
        self.holders.get(id).map_or(0, |holder| holder.begun)
    }

    /// Notes that a worker has begun its deliveries up to this one, of which it still holds so many
    /// that were not known to be begun.
    pub(super) fn begin(&mut self, id: HolderId, last: u64, held: u64) {
        self.change(id, |holder| {
            holder.begun = holder.begun.max(last);
            holder.begun_held += held;
        });
    }

    /// Returns the number of deliveries that this worker has not begun, as far as that is known.
    pub(super) fn prefetched_by(&self, id: HolderId) -> usize {
        let prefetched = self.holders.get(id).map_or(0, Holder::prefetched);
        usize::try_from(prefetched).unwrap_or(usize::MAX)
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

    /// Returns the number of deliveries that a holder is known to have begun, and what that should be
    /// by this count of those that it holds up to an ordinal, if the two differ.
    pub(super) fn check_begun(&self, held: impl Fn(HolderId, u64) -> u64) -> Option<(u64, u64)> {
        let workers = self
            .holders
            .iter()
            .filter(|(_, holder)| holder.credit.is_some());
        let mut counted = workers.map(|(id, holder)| (holder.begun_held, held(id, holder.begun)));
        counted.find(|(known, held)| known != held)
    }

    /// Returns the number of items that workers may have beyond those that they have.
    pub(super) fn appetite(&self) -> u64 {
        self.holders.values().map(Holder::appetite).sum()
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

    /// Returns `true` if items wait for a worker that is relied on, while another one is idle, or
    /// one of so many `getters` that are no workers.
    pub(super) fn is_relying(&self, waiting: usize, getters: usize) -> bool {
        let waits = self.tally.ahead > 0 || (self.tally.fast > 0 && waiting > 0);
        (self.tally.idle > 0 || getters > 0) && waits
    }

    fn is_worth_waking(&self, waiting: usize) -> bool {
        self.tally.fast == 0 || waiting >= WORTH_WAKING
    }

    /// Notes that a holder gets its next delivery, and returns the ordinal. `is_asked_for`: it did
    /// not wait for its turn.
    pub(super) fn take(&mut self, id: HolderId, weight: usize, is_asked_for: bool) -> u64 {
        let taken = self.change(id, |holder| {
            holder.take(weight, is_asked_for);
            (holder.ordinal, holder.ordinal >= holder.quota)
        });
        let Some((ordinal, is_last)) = taken else {
            return 0;
        };
        if is_last {
            self.stop(id);
        }
        if is_asked_for {
            self.line_up_for_more(id);
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
    pub(super) fn release(&mut self, token: Token, weight: usize, service: Option<Duration>) {
        let begun = u64::from(token.ordinal() <= self.begun(token.holder()));
        self.release_many(token.holder(), (1, begun), weight, service);
    }

    /// Counts settled deliveries of this total weight: how many, and how many of these were known
    /// to be begun.
    pub(super) fn release_many(
        &mut self,
        id: HolderId,
        (count, begun): (u64, u64),
        weight: usize,
        service: Option<Duration>,
    ) {
        if count == 0 {
            return;
        }
        self.change(id, |holder| {
            holder.outstanding -= count;
            holder.begun_held = holder.begun_held.saturating_sub(begun);
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
        if !self.line_up_if_idle(id) {
            self.line_up_for_more(id);
        }
    }

    /// Puts a worker in the line of idle ones, if it is one.
    fn line_up_if_idle(&mut self, id: HolderId) -> bool {
        let Some(holder) = self.holders.get_mut(id).filter(|holder| holder.is_idle()) else {
            return false;
        };
        if holder.credit.is_some_and(|credit| credit.is_fast()) {
            self.recent = Some(id);
        }
        if !holder.is_in_idle_line {
            holder.is_in_idle_line = true;
            self.idle_line.push_back(id);
        }
        true
    }

    /// Puts a busy worker in line for more in advance.
    fn line_up_for_more(&mut self, id: HolderId) {
        if let Some(holder) = self.holders.get_mut(id)
            && holder.is_taking()
            && !holder.is_in_refill_line
        {
            holder.is_in_refill_line = true;
            self.refill_line.push_back(id);
        }
    }

    /// Returns a worker that has work for long while another one has none: what it has not begun
    /// should go back. It is named once for the same items.
    pub(super) fn poll_overloaded(&mut self, getters: usize) -> Option<HolderId> {
        if self.tally.idle + getters == 0 || self.tally.overloaded == 0 {
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

    /// Asks all loops for what they have not begun, unless they were asked for it before.
    pub(super) fn recall_loops(&mut self) {
        let loops: Vec<HolderId> = self.holders.keys().collect();
        loops.into_iter().for_each(|id| self.recall_loop(id));
    }

    /// Hands a loop nothing more until it gets something again, and asks it for what it has not begun.
    pub(super) fn leave_alone(&mut self, id: HolderId) {
        self.change(id, |holder| {
            holder.is_elsewhere = holder.is_loop();
            holder.is_back = false;
        });
        self.recall_loop(id);
    }

    /// Returns `true` if this loop holds something, and waits for something else than an item.
    pub(super) fn is_left_lying(&self, id: HolderId) -> bool {
        let holder = self.holders.get(id);
        holder.is_some_and(|holder| holder.waits_elsewhere() && holder.outstanding > 0)
    }

    /// Notes that a loop waits for nothing else any more.
    pub(super) fn come_back(&mut self, id: HolderId) {
        if let Some(holder) = self.holders.get_mut(id) {
            holder.is_back = true;
        }
    }

    /// Asks a holder for what it has not begun, if it is a loop and was not asked for it before.
    fn recall_loop(&mut self, id: HolderId) {
        let has_some = |holder: &Holder| holder.is_loop() && holder.is_ahead();
        if self.holders.get(id).is_some_and(has_some) && !self.recalled.contains(&id) {
            self.recalled.push_back(id);
        }
    }

    /// Returns `true` if a loop has something that it has not begun, as far as is known.
    pub(super) fn is_any_loop_ahead(&self) -> bool {
        let mut loops = self.holders.values().filter(|holder| holder.is_loop());
        self.tally.prefetched > 0 && loops.any(|holder| holder.prefetched() > 0)
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
        let holder = self.holders.get(id).filter(|holder| holder.is_taking())?;
        Some(Turn {
            id,
            credit: holder.credit?,
            left,
            outstanding: holder.outstanding,
            at_hand: holder.at_hand(),
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
