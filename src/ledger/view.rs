//! What can be asked of a ledger. Nothing here changes anything.

use slotmap::Key;

use super::{Capacity, Counts, Handed, HolderId, ItemId, Ledger, Token, Weight, key_of};

impl<P: Weight + Clone, R> Ledger<P, R> {
    /// The payload of a delivery that is not settled.
    #[must_use]
    pub fn payload(&self, token: Token) -> Option<&P> {
        let lease = self.leases.get(key_of(token))?;
        Some(&lease.entry.payload)
    }

    /// What a delivery that is not settled was handed out as.
    #[must_use]
    pub fn handed(&self, token: Token) -> Option<Handed> {
        let lease = self.leases.get(key_of(token))?;
        Some(Handed {
            holder: lease.holder,
            token,
            ordinal: lease.ordinal,
            id: lease.entry.id,
            attempt: lease.entry.attempt(),
        })
    }

    /// The delivery of this holder with this ordinal, if it is not settled.
    #[must_use]
    pub fn handed_as(&self, holder: HolderId, ordinal: u64) -> Option<Handed> {
        let (key, _) = self
            .leases
            .iter()
            .find(|(_, lease)| lease.holder == holder && lease.ordinal == ordinal)?;
        self.handed(Token(key.data().as_ffi()))
    }

    /// How many items this holder has and has not settled.
    #[must_use]
    pub fn held_by(&self, holder: HolderId) -> usize {
        self.crew.outstanding(holder)
    }

    /// Whether this holder is there and was not stopped.
    #[must_use]
    pub fn is_open(&self, holder: HolderId) -> bool {
        self.crew.is_open(holder)
    }

    /// Whether this holder is handed items, rather than asking for them.
    #[must_use]
    pub fn is_worker(&self, holder: HolderId) -> bool {
        self.crew.is_worker(holder)
    }

    /// Whether a put would be accepted, were the queue open.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match self.options.capacity {
            Capacity::Unbounded => true,
            Capacity::Bounded(bound) => self.len() < bound,
            Capacity::Rendezvous => self.waiting.len() < self.crew.idle() + self.getters,
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
        self.waiting.len() + self.waiting.delayed() + self.crew.prefetched()
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
        let outstanding = self.crew.outstanding_in_all();
        if held != outstanding {
            return Err(format!(
                "workers hold {outstanding} deliveries, and {held} are handed out"
            ));
        }
        Ok(())
    }
}
