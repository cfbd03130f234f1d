//! One holder, and how it is counted. It does not know the others.

use core::time::Duration;

use crate::ledger::Credit;

/// The total time from which the items that a worker has in advance count as long.
const LONG: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Holder {
    /// `None` for a holder that is handed nothing but what it asks for.
    pub(super) credit: Option<Credit>,
    /// True while it waits for an item: a loop in a `get`, a handler that holds others.
    pub(super) is_asking: bool,
    /// True for a loop that has waited for something else since its last item.
    pub(super) is_elsewhere: bool,
    /// True if that wait is over, so that it may be at what it holds.
    pub(super) is_back: bool,
    /// True if it stands for any number of threads.
    pub(super) is_many: bool,
    pub(super) is_open: bool,
    pub(super) outstanding: u64,
    pub(super) bytes: usize,
    pub(super) ordinal: u64,
    /// The last of its deliveries that is known to be begun, and the number of those up to it that
    /// are not settled.
    pub(super) begun: u64,
    pub(super) begun_held: u64,
    /// The last ordinal of the deliveries that it has reported in bulk to be through with.
    pub(super) through: u64,
    /// The number of deliveries that it may get in all.
    pub(super) quota: u64,
    pub(super) is_in_idle_line: bool,
    pub(super) is_in_refill_line: bool,
    /// The last ordinal of the deliveries that it was asked to give back.
    pub(super) asked_back: u64,
}

/// The counts of one holder, or of all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HolderCounts {
    /// Workers that may get more.
    pub(super) workers: usize,
    /// Those of them that want an item at once.
    pub(super) idle: usize,
    /// Holders of any kind that hold something.
    pub(super) busy: usize,
    /// Workers that are busy with tiny items.
    pub(super) fast: usize,
    /// Workers that have items in advance, and were not asked to give them back.
    pub(super) ahead: usize,
    /// Those of them that these items will keep busy for long.
    pub(super) overloaded: usize,
    /// The deliveries that workers have besides the one that they work on.
    pub(super) prefetched: u64,
}

impl Holder {
    pub(super) fn is_worker(&self) -> bool {
        self.is_open && self.credit.is_some()
    }

    /// Returns `true` if it wants an item only when it says so.
    pub(super) fn is_loop(&self) -> bool {
        self.credit.is_some_and(|credit| credit.is_for_loop())
    }

    /// Returns `true` if it takes what it is handed: a loop only if it asks, or holds something and
    /// waits for nothing else.
    pub(super) fn is_taking(&self) -> bool {
        let goes_on = self.outstanding > 0 && !self.is_elsewhere;
        self.is_worker() && (!self.is_loop() || self.is_asking || goes_on)
    }

    /// Returns `true` if it is a worker that is at something: a loop, unless it waits for its next
    /// item or for something else.
    pub(super) fn is_at_work(&self) -> bool {
        let waits = self.is_asking || self.waits_elsewhere();
        self.credit.is_some() && self.outstanding > 0 && !waits
    }

    /// Returns `true` if it is a loop that waits for something else than an item.
    pub(super) fn waits_elsewhere(&self) -> bool {
        self.is_loop() && self.is_elsewhere && !self.is_back
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_worker() && (self.is_asking || (!self.is_loop() && self.outstanding == 0))
    }

    pub(super) fn is_fast(&self) -> bool {
        let is_fast = self.credit.is_some_and(|credit| credit.is_fast());
        self.is_open && is_fast && self.outstanding > 0 && !self.is_idle()
    }

    /// Returns the number of deliveries that it has not begun, as far as that is known.
    pub(super) fn prefetched(&self) -> u64 {
        // A handler does not say that it has begun the one that it works on.
        let begun = match self.is_loop() {
            true => self.begun_held,
            false => self.begun_held.max(1),
        };
        match self.credit {
            Some(_) => self.outstanding.saturating_sub(begun),
            None => 0,
        }
    }

    /// Returns the number of deliveries that its credit counts: those in advance, and one for all
    /// that it is at, unless it waits for another.
    pub(super) fn at_hand(&self) -> u64 {
        let prefetched = self.prefetched();
        let at_work = self.outstanding > prefetched && !self.is_asking;
        prefetched + u64::from(at_work)
    }

    pub(super) fn is_ahead(&self) -> bool {
        self.prefetched() > 0 && self.asked_back < self.ordinal
    }

    pub(super) fn is_overloaded(&self) -> bool {
        let backlog = |credit: Credit| credit.time_of(self.prefetched());
        self.is_ahead() && self.credit.is_some_and(|credit| backlog(credit) >= LONG)
    }

    pub(super) fn may_take(&self, weight: usize) -> bool {
        let allows = |credit: Credit| credit.allows(self.at_hand(), self.bytes, weight);
        self.is_taking() && self.credit.is_some_and(allows)
    }

    /// Returns the number of items that it would take now.
    pub(super) fn appetite(&self) -> u64 {
        let room = match self.credit {
            Some(credit) if self.is_taking() => credit.items().saturating_sub(self.at_hand()),
            _ => 0,
        };
        room.min(self.quota.saturating_sub(self.ordinal))
    }

    /// Notes that its next delivery is handed to it.
    pub(super) fn take(&mut self, weight: usize, is_asked_for: bool) {
        // What a `get` waits for is begun, unless something lies before it.
        let is_begun = (is_asked_for || self.is_asking) && self.prefetched() == 0;
        self.outstanding += 1;
        self.bytes += weight;
        self.ordinal += 1;
        self.is_asking = false;
        self.is_elsewhere &= !is_asked_for;
        if is_begun && self.is_loop() {
            self.begun = self.ordinal;
            self.begun_held += 1;
        }
    }

    pub(super) fn tally(&self) -> HolderCounts {
        HolderCounts {
            workers: usize::from(self.is_taking()),
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
    pub(super) fn replace(&mut self, before: HolderCounts, after: HolderCounts) {
        self.workers = self.workers + after.workers - before.workers;
        self.idle = self.idle + after.idle - before.idle;
        self.busy = self.busy + after.busy - before.busy;
        self.fast = self.fast + after.fast - before.fast;
        self.ahead = self.ahead + after.ahead - before.ahead;
        self.overloaded = self.overloaded + after.overloaded - before.overloaded;
        self.prefetched = self.prefetched + after.prefetched - before.prefetched;
    }
}
