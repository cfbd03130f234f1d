//! Questions to a ledger. None of them changes anything.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::pace::{self, Gathered};
use super::{
    Ballot, Capacity, Counts, Durations, Finding, Handed, HolderId, ItemId, LastWords, Ledger,
    Refusal, Started, Token, Weight,
};

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Returns the payload of a delivery that is not settled.
    #[must_use]
    pub fn payload(&self, token: Token) -> Option<&P> {
        let lease = self.leases.get(token)?;
        Some(&lease.entry.payload)
    }

    /// Returns the payload of a delivery that its holder has not settled, cancelled or not.
    pub fn payload_in_hand(&self, token: Token) -> Option<&P> {
        let revoked = || self.revoked.get(&token).map(|lease| &lease.entry.payload);
        self.payload(token).or_else(revoked)
    }

    /// Returns the payload of a delivery, to convert it into another form that weighs no more.
    pub fn payload_mut(&mut self, token: Token) -> Option<&mut P> {
        let lease = self.leases.get_mut(token)?;
        Some(&mut lease.entry.payload)
    }

    /// Returns the number of items that holders would take now beyond those that wait.
    #[must_use]
    pub fn appetite(&self) -> usize {
        if self.gives_nothing() || self.is_kept_apart() {
            return 0;
        }
        self.room_of_takers().saturating_sub(self.waiting.ready())
    }

    /// Returns the number of items that workers have room for and may begin soon, and that getters
    /// wait for.
    fn room_of_takers(&self) -> usize {
        if self.is_paused {
            return 0;
        }
        let room = usize::try_from(self.consumers.appetite()).unwrap_or(usize::MAX);
        let room = room.min(self.room_by_limits());
        room.saturating_add(self.getters)
    }

    /// Returns the items that could be handed out now, and for which no holder has room: the last
    /// of those that wait.
    #[must_use]
    pub fn excess_ids(&self) -> Vec<ItemId> {
        let waiting = self.waiting.returned_ids();
        waiting.skip(self.room_of_takers()).collect()
    }

    /// Returns `true` if an idle worker should get an item now.
    #[must_use]
    pub fn has_idle_taker(&self) -> bool {
        self.consumers.has_idle_taker(self.waiting.ready()) && !self.is_paused
    }

    /// Returns `true` if there may be a worker that gets the next item; `false` if all have as much
    /// as they may.
    #[must_use]
    pub fn has_takers(&self) -> bool {
        self.consumers.has_takers(self.waiting.ready())
    }

    /// Returns `true` if items wait for a worker that is relied on to come back soon, while another
    /// one is idle. The caller must check that it does come back, and call
    /// [`handle_slow`](Self::handle_slow) if it does not.
    #[must_use]
    pub fn is_relying(&self) -> bool {
        self.consumers
            .is_relying(self.waiting.ready(), self.getters)
    }

    /// Returns `true` if this worker is relied on to come back soon: it has items in advance, or is
    /// busy with tiny ones.
    #[must_use]
    pub fn is_relied_on(&self, holder: HolderId) -> bool {
        self.consumers.is_relied_on(holder)
    }

    /// Returns `true` if a worker has items besides the one that it works on, as far as is known.
    #[must_use]
    pub fn has_prefetched(&self) -> bool {
        self.consumers.prefetched() > 0
    }

    /// Returns the items that no holder has and that have no end.
    #[must_use]
    pub fn waiting_ids(&self) -> BTreeSet<ItemId> {
        self.waiting.ids()
    }

    /// Returns all items without an end.
    #[must_use]
    pub fn unfinished_ids(&self) -> Vec<ItemId> {
        let leases = self.leases.iter().filter(|(_, lease)| lease.copy.is_none());
        let leased = leases.map(|(_, lease)| lease.entry.id);
        let leased = leased.chain(self.copies.ids());
        self.waiting.ids().into_iter().chain(leased).collect()
    }

    /// Returns the number of holders with deliveries that are not settled.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.consumers.busy()
    }

    /// Returns a delivery as it was handed out, if it is not settled.
    #[must_use]
    pub fn handed(&self, token: Token) -> Option<Handed> {
        Some(token.handed(self.leases.get(token)?))
    }

    /// Returns the delivery of this holder with this ordinal, if it is not settled.
    #[must_use]
    pub fn handed_as(&self, holder: HolderId, ordinal: u64) -> Option<Handed> {
        self.handed(Token { holder, ordinal })
    }

    /// Returns the first delivery of this holder that is not settled.
    #[must_use]
    pub fn first_held(&self, holder: HolderId) -> Option<Handed> {
        let (ordinal, lease) = self.leases.of(holder).next()?;
        Some(Token::of(holder, ordinal).handed(lease))
    }

    /// Decides what a worker that is gone had started, by its last words, after it settled all that
    /// it settled before.
    ///
    /// A worker begins its deliveries in their order, and names the oldest one that it is at, so that
    /// can only be the first one that is not settled. Words that say otherwise are nonsense that
    /// something wrote over them, and that something most likely ran at the first delivery that is
    /// not settled.
    #[must_use]
    pub fn weigh(&self, holder: HolderId, words: LastWords) -> Finding {
        let first = self.leases.of(holder).next().map(|(ordinal, _)| ordinal);
        let Started { current, begun } = words.started;
        let begun = begun.max(current);
        let last = self.consumers.last_ordinal(holder);
        let is_known = current <= last && begun <= last;
        let is_held = self.leases.get(Token::of(holder, current)).is_some();
        let names_other = is_held && first != Some(current);
        let is_sound = !words.is_garbled && is_known && !names_other;
        let started = if is_sound {
            let is_begun = |ordinal: &u64| *ordinal <= begun;
            Started {
                current: first.filter(is_begun).unwrap_or(current),
                begun,
            }
        } else {
            Started::at(first.unwrap_or(0))
        };
        Finding { started, is_sound }
    }

    /// Returns the number of deliveries that this holder has not settled.
    #[must_use]
    pub fn held_by(&self, holder: HolderId) -> usize {
        self.consumers.outstanding(holder)
    }

    /// Returns the number of deliveries that this holder has not settled and should be at: a loop need
    /// not begin what it has in advance.
    #[must_use]
    pub fn due_from(&self, holder: HolderId) -> usize {
        let in_advance = match self.consumers.is_loop(holder) {
            true => self.consumers.prefetched_by(holder),
            false => 0,
        };
        self.held_by(holder).saturating_sub(in_advance)
    }

    /// Returns `true` if this holder exists and was not stopped.
    #[must_use]
    pub fn is_open(&self, holder: HolderId) -> bool {
        self.consumers.is_open(holder)
    }

    /// Returns `true` if this holder is handed items in advance: a handler, or a loop.
    #[must_use]
    pub fn is_worker(&self, holder: HolderId) -> bool {
        self.consumers.is_worker(holder)
    }

    /// Returns `true` if it is a handler, which works on what it is handed whether it asks or not.
    #[must_use]
    pub fn is_handler(&self, holder: HolderId) -> bool {
        self.consumers.is_worker(holder) && !self.consumers.is_loop(holder)
    }

    /// Returns `true` if a loop has something in advance, as far as is known.
    #[must_use]
    pub fn is_any_loop_ahead(&self) -> bool {
        self.consumers.is_any_loop_ahead()
    }

    /// Returns the number of deliveries that this worker has not begun, as far as that is known.
    #[must_use]
    pub fn prefetched_by(&self, holder: HolderId) -> usize {
        self.consumers.prefetched_by(holder)
    }

    /// Returns the reason why a put would be refused, if it would be. Beyond the bound it is never
    /// full.
    #[must_use]
    pub fn refusal(&self, is_beyond_bound: bool) -> Option<Refusal> {
        if self.is_closed {
            Some(Refusal::Closed)
        } else if self.outbox.is_broken() {
            Some(match self.is_inconsistent {
                true => Refusal::Inconsistent,
                false => Refusal::JournalFailed,
            })
        } else if !is_beyond_bound && !self.has_room() {
            Some(Refusal::Full)
        } else {
            None
        }
    }

    /// Returns `true` if there is room for a put; a closed queue may have room too.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// Returns the number of puts for which there is room.
    #[must_use]
    pub fn room(&self) -> usize {
        match self.options.capacity {
            Capacity::Unbounded => usize::MAX,
            Capacity::Bounded(bound) => bound.saturating_sub(self.len()),
            // Nothing is handed over, so nobody takes it.
            Capacity::Rendezvous if self.is_paused || self.is_kept_apart() => 0,
            Capacity::Rendezvous => {
                let takers = self.consumers.idle() + self.getters;
                takers.saturating_sub(self.waiting.len())
            }
        }
    }

    /// Returns the number of items that may wait, if there is a bound.
    #[must_use]
    pub fn bound(&self) -> Option<usize> {
        self.options.capacity.bound()
    }

    /// Returns `true` if items are handed over directly.
    #[must_use]
    pub fn is_rendezvous(&self) -> bool {
        self.options.capacity == Capacity::Rendezvous
    }

    /// Returns the number of items that no handler and no `get` has taken: waiting, resting, or
    /// only prefetched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.waiting.delayed() + self.consumers.prefetched()
    }

    /// Returns `true` if [`len`](Self::len) is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of items that a `get` could have now.
    #[must_use]
    pub fn ready(&self) -> usize {
        match self.is_paused || self.outbox.is_broken() {
            true => 0,
            false => self.waiting.ready(),
        }
    }

    /// Returns `true` if [`handle_close`](Self::handle_close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Returns `true` if there is a journal.
    #[must_use]
    pub fn is_journaled(&self) -> bool {
        self.outbox.is_journaled()
    }

    /// Returns `true` if the journal has failed, or its own books do not agree.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.outbox.is_broken()
    }

    /// Returns `true` if [`handle_inconsistent`](Self::handle_inconsistent) was called.
    #[must_use]
    pub fn is_inconsistent(&self) -> bool {
        self.is_inconsistent
    }

    /// Returns `true` if [`poll_write`](Self::poll_write) has something to write.
    #[must_use]
    pub fn has_write(&self) -> bool {
        self.outbox.has_write()
    }

    /// Returns `true` if that is to be written at once: a report waits for it, or the items that it
    /// makes durable will soon be needed. Otherwise what comes in the next moment can share the
    /// write, and the caller should wait for a moment.
    #[must_use]
    pub fn is_write_due(&self) -> bool {
        if !self.has_write() || self.outbox.has_reports() {
            return self.has_write();
        }
        let gathered = Gathered {
            staged: self.waiting.staged(),
            ahead: self.waiting.ready() + self.leases.len(),
            last: self.outbox.accepted_last(),
            is_full: !self.has_room(),
        };
        gathered.is_enough()
    }

    /// Returns `true` if there is a report that was not made yet.
    #[must_use]
    pub fn has_reports(&self) -> bool {
        self.outbox.has_reports()
    }

    /// Returns `true` if items are put one after the other, so many that more will come in a moment.
    #[must_use]
    pub fn is_streaming(&self) -> bool {
        self.waiting.staged() > 0 && pace::is_stream(self.outbox.accepted_last())
    }

    /// Returns `true` if all changes so far are durable, or never will be.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.outbox.is_written()
    }

    /// Returns the number of the write with which all changes so far are durable.
    #[must_use]
    pub fn last_write(&self) -> u64 {
        self.outbox.last_write()
    }

    /// Returns `true` if this write and all before it are durable. Others may be to come: where
    /// items are put all the time, [`is_written`](Self::is_written) may never hold.
    #[must_use]
    pub fn is_written_up_to(&self, write: u64) -> bool {
        self.outbox.is_written_up_to(write)
    }

    /// Returns `true` if this item, which was put, will outlive this supervisor; without a journal,
    /// always.
    #[must_use]
    pub fn is_durable(&self, id: ItemId) -> bool {
        id <= self.last_durable()
    }

    /// Returns the last item that will outlive this supervisor, as all before it will; 0 if none.
    /// After the journal has failed none follows.
    #[must_use]
    pub fn last_durable(&self) -> ItemId {
        ItemId(self.waiting.accepted() - self.waiting.staged() as u64)
    }

    /// Returns `true` if every accepted item has its terminal state, and every report was made.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.waiting.is_empty()
            && self.leases.is_empty()
            && self.copies.is_empty()
            && self.outbox.is_clear()
    }

    /// Returns the places of all accepted items.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.waiting.accepted(),
            waiting: self.waiting.len() as u64,
            leased: self.leased(),
            delayed: self.waiting.delayed() as u64,
            done: self.done,
            dead: self.dead,
            retries: self.retries,
            refused: self.refused,
        }
    }

    /// Returns the number of items that were accepted, also of those that are not durable yet.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.waiting.accepted()
    }

    /// Returns how long attempts have taken.
    #[must_use]
    pub fn durations(&self) -> &Durations {
        &self.durations
    }

    /// Returns the number of items that holders have, however many copies of each.
    fn leased(&self) -> u64 {
        let leased = self.leases.len().checked_add_signed(-self.copies.surplus());
        leased.unwrap_or_default() as u64
    }

    /// Checks that all facts that are kept twice agree. A difference is a bug in this module.
    ///
    /// # Errors
    /// The difference, in words.
    pub fn check(&self) -> Result<(), String> {
        let counts = self.counts();
        if !counts.is_balanced() {
            return Err(format!("items are lost or counted twice: {counts:?}"));
        }
        let held = (self.leases.len() + self.revoked.len()) as u64;
        let outstanding = self.consumers.outstanding_in_all();
        if held != outstanding {
            return Err(format!(
                "workers hold {outstanding} deliveries, and {held} are handed out"
            ));
        }
        let held_up_to = |holder, last| {
            let leases = self.leases.of(holder).map(|(ordinal, _)| ordinal);
            let revoked = self.revoked.keys().filter(|one| one.holder() == holder);
            let held = leases.chain(revoked.map(|one| one.ordinal()));
            held.filter(|ordinal| *ordinal <= last).count() as u64
        };
        if !self.check_slots() {
            return Err("a slot is lent to a delivery that nobody has".into());
        }
        if let Some((known, held)) = self.consumers.check_begun(held_up_to) {
            return Err(format!("a worker is at {held} deliveries, not {known}"));
        }
        Ok(())
    }
}
