//! What can be asked of a ledger. Nothing here changes anything.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::leases::Lease;
use super::{
    Capacity, Counts, Finding, Handed, HolderId, ItemId, LastWords, Ledger, Refusal, Started,
    Token, Weight,
};

impl<P: Weight + Clone, R> Ledger<P, R> {
    /// The payload of a delivery that is not settled.
    #[must_use]
    pub fn payload(&self, token: Token) -> Option<&P> {
        let lease = self.leases.get(token)?;
        Some(&lease.entry.payload)
    }

    /// The payload of a delivery that its holder has not spoken of, cancelled or not: he may read it.
    pub fn payload_in_hand(&self, token: Token) -> Option<&P> {
        let revoked = || self.revoked.get(&token).map(|lease| &lease.entry.payload);
        self.payload(token).or_else(revoked)
    }

    /// The same, to bring it into another form that weighs no more.
    pub fn payload_mut(&mut self, token: Token) -> Option<&mut P> {
        let lease = self.leases.get_mut(token)?;
        Some(&mut lease.entry.payload)
    }

    /// How many items holders would take now, if there were enough, beyond those that wait.
    #[must_use]
    pub fn appetite(&self) -> usize {
        if self.gives_nothing() {
            return 0;
        }
        self.room_of_takers().saturating_sub(self.waiting.ready())
    }

    /// How many items workers have room for, and getters wait for.
    fn room_of_takers(&self) -> usize {
        let room = usize::try_from(self.consumers.appetite()).unwrap_or(usize::MAX);
        room.saturating_add(self.getters)
    }

    /// The items that could be handed out now, and for which no holder has room: the last of those
    /// that wait.
    #[must_use]
    pub fn excess_ids(&self) -> Vec<ItemId> {
        let waiting = self.waiting.returned_ids();
        waiting.skip(self.room_of_takers()).collect()
    }

    /// Whether an idle worker should get something now.
    #[must_use]
    pub fn has_idle_taker(&self) -> bool {
        self.consumers.has_idle_taker(self.waiting.ready())
    }

    /// Whether a worker may be there that gets the next item, rather than all having as much as
    /// they may.
    #[must_use]
    pub fn has_takers(&self) -> bool {
        self.consumers.has_takers(self.waiting.ready())
    }

    /// Whether items wait for a worker that is relied on to come back soon, while another one is
    /// idle. It must be looked whether it does come back, and [`handle_slow`](Self::handle_slow) be
    /// called if not.
    #[must_use]
    pub fn is_relying(&self) -> bool {
        self.consumers.is_relying(self.waiting.ready())
    }

    /// Whether this worker is relied on to come back soon: it has items in advance, or is busy with
    /// tiny ones.
    #[must_use]
    pub fn is_relied_on(&self, holder: HolderId) -> bool {
        self.consumers.is_relied_on(holder)
    }

    /// The items that nobody holds and that are not ended.
    #[must_use]
    pub fn waiting_ids(&self) -> BTreeSet<ItemId> {
        self.waiting.ids()
    }

    /// All items without an end.
    #[must_use]
    pub fn unfinished_ids(&self) -> Vec<ItemId> {
        let leased = self.leases.iter().map(|(_, lease)| lease.entry.id);
        self.waiting.ids().into_iter().chain(leased).collect()
    }

    /// How many holders have something that they did not settle.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.consumers.busy()
    }

    /// What a delivery that is not settled was handed out as.
    #[must_use]
    pub fn handed(&self, token: Token) -> Option<Handed> {
        Some(token.handed(self.leases.get(token)?))
    }

    /// The delivery of this holder with this ordinal, if it is not settled.
    #[must_use]
    pub fn handed_as(&self, holder: HolderId, ordinal: u64) -> Option<Handed> {
        self.handed(Token { holder, ordinal })
    }

    /// What a worker had started that is gone, by its last words. It settled all that it had settled
    /// before this.
    ///
    /// A handler works on what it was given one after the other, so that it can only have been at the
    /// first delivery that is not settled; what says otherwise is nonsense that something wrote over
    /// these words, and that something ran at the first delivery that is not settled, most likely.
    #[must_use]
    pub fn weigh(&self, holder: HolderId, words: LastWords) -> Finding {
        let first = |is_asked_for: bool| {
            let mut held = self.leases.of(holder);
            held.find(|(_, lease)| lease.is_asked_for == is_asked_for)
                .map(|(ordinal, _)| ordinal)
        };
        let (given, asked) = (first(false), first(true));
        let Started { current, taken } = words.started;
        let last = self.consumers.last_ordinal(holder);
        let is_known = [current, taken, words.begun].iter().all(|it| *it <= last);
        let token = Token::of(holder, current);
        let names_other = |lease: &Lease<P>| !lease.is_asked_for && given != Some(current);
        let is_sound =
            !words.is_garbled && is_known && !self.leases.get(token).is_some_and(names_other);
        let started = if is_sound {
            let is_begun = |ordinal: &u64| *ordinal <= words.begun;
            Started {
                current: given.filter(is_begun).unwrap_or(current),
                taken,
            }
        } else {
            match (given, asked) {
                (Some(given), asked) if asked.is_none_or(|asked| given < asked) => Started {
                    current: given,
                    taken: 0,
                },
                (_, asked) => Started {
                    current: 0,
                    taken: asked.unwrap_or(0),
                },
            }
        };
        Finding { started, is_sound }
    }

    /// How many items this holder has and has not settled.
    #[must_use]
    pub fn held_by(&self, holder: HolderId) -> usize {
        self.consumers.outstanding(holder)
    }

    /// Whether this holder is there and was not stopped.
    #[must_use]
    pub fn is_open(&self, holder: HolderId) -> bool {
        self.consumers.is_open(holder)
    }

    /// Whether this holder is handed items, rather than asking for them.
    #[must_use]
    pub fn is_worker(&self, holder: HolderId) -> bool {
        self.consumers.is_worker(holder)
    }

    /// Why a put would be refused, if it would. Beyond the bound it is never full.
    #[must_use]
    pub fn refusal(&self, is_beyond_bound: bool) -> Option<Refusal> {
        if self.is_closed {
            Some(Refusal::Closed)
        } else if self.outbox.is_broken() {
            Some(Refusal::JournalFailed)
        } else if !is_beyond_bound && !self.has_room() {
            Some(Refusal::Full)
        } else {
            None
        }
    }

    /// Whether a put would be accepted, were the queue open.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self.options.capacity {
            Capacity::Unbounded => true,
            Capacity::Bounded(bound) => self.len() < bound,
            Capacity::Rendezvous => self.waiting.len() < self.consumers.idle() + self.getters,
        }
    }

    /// How many items may wait, if there is a bound.
    #[must_use]
    pub fn bound(&self) -> Option<usize> {
        match self.options.capacity {
            Capacity::Unbounded => None,
            Capacity::Bounded(bound) => Some(bound),
            Capacity::Rendezvous => Some(0),
        }
    }

    /// Whether items are handed over directly.
    #[must_use]
    pub fn is_rendezvous(&self) -> bool {
        self.options.capacity == Capacity::Rendezvous
    }

    /// Items that no handler and no `get` has taken: waiting, resting, or only prefetched.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.waiting.delayed() + self.consumers.prefetched()
    }

    /// Whether [`len`](Self::len) is zero.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Items that a `get` could have now.
    #[must_use]
    pub fn ready(&self) -> usize {
        match self.outbox.is_broken() {
            true => 0,
            false => self.waiting.ready(),
        }
    }

    /// Whether [`handle_close`](Self::handle_close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether a journal keeps what happens here.
    #[must_use]
    pub fn is_journaled(&self) -> bool {
        self.outbox.is_journaled()
    }

    /// Whether the journal has failed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.outbox.is_broken()
    }

    /// Whether [`poll_write`](Self::poll_write) has something to be written.
    #[must_use]
    pub fn has_write(&self) -> bool {
        self.outbox.has_write()
    }

    /// Whether all that happened so far is durable, or never will be.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.outbox.is_written()
    }

    /// Whether this item, which was put, will outlive this supervisor; without a journal, always.
    #[must_use]
    pub fn is_durable(&self, id: ItemId) -> bool {
        id.0 <= self.waiting.accepted() - self.waiting.staged() as u64
    }

    /// Whether every accepted item has its terminal state, and everybody was told.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.waiting.is_empty() && self.leases.is_empty() && self.outbox.is_clear()
    }

    /// Where all accepted items are.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.waiting.accepted(),
            waiting: self.waiting.len() as u64,
            leased: self.leases.len() as u64,
            delayed: self.waiting.delayed() as u64,
            done: self.done,
            dead: self.dead,
            retries: self.retries,
            refused: self.refused,
        }
    }

    /// Whether all that is kept twice agrees. An error is a bug in here, in words.
    ///
    /// # Errors
    /// What does not agree.
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
        Ok(())
    }
}
