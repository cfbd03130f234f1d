//! PURE: the pools and clients that serve a queue, and what follows where none of them is left.
//!
//! A client is a holder that belongs to no pool: a process that reached the queue by a connection
//! of its own. One that has asked for an item serves the queue as a worker does, from then until its
//! connection ends; one that only puts and joins does not.

use alloc::borrow::ToOwned;
use alloc::string::String;

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::{Dispatcher, Reply};
use crate::ledger::{Ballot, Blame, Cause, HolderId, Scene, Started, Weight};

/// The pools of this queue, as far as supervisors have told.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pub(super) active: usize,
    /// The reason why no workers are left, once there were some.
    loss: Option<String>,
    /// True if they were given up on, false if they were stopped in order.
    pub(super) is_spent: bool,
    /// Each with `true` if it has asked for an item.
    clients: BTreeMap<HolderId, bool>,
    /// True if a client has ever asked for an item.
    had_consumers: bool,
}

impl Pools {
    /// Returns `true` if a client takes items.
    pub(super) fn has_consumers(&self) -> bool {
        self.clients.values().any(|is_consumer| *is_consumer)
    }

    /// Notes that a holder asks for an item.
    pub(super) fn asks(&mut self, holder: HolderId) {
        if let Some(is_consumer) = self.clients.get_mut(&holder) {
            *is_consumer = true;
            self.had_consumers = true;
        }
    }
}

/// The way in which a client's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// It ended by itself. What the client had got up to this delivery counts as begun.
    Gone {
        /// The ordinal of the last delivery that it can have seen.
        taken: u64,
    },
    /// Its client, or this side, was asked to end, so nothing is charged.
    Asked,
}

impl<P: Weight + Clone, R: Ballot> Dispatcher<P, R> {
    /// Adds a client, which gets items only by asking.
    pub fn client_came(&mut self) -> HolderId {
        let holder = self.ledger.handle_join(None, u64::MAX);
        self.pools.clients.insert(holder, false);
        holder
    }

    /// Returns `true` if this is a client's place, and no worker's.
    #[must_use]
    pub fn is_client(&self, holder: HolderId) -> bool {
        self.pools.clients.contains_key(&holder)
    }

    /// Returns the number of a holder's items that are accepted, and of which it was not told because
    /// they are not durable yet.
    #[must_use]
    pub fn untold_puts(&self, holder: HolderId) -> u64 {
        let accepted = self.staged.iter().filter(|(request, _, reply)| {
            request.holder == holder && matches!(reply, Reply::Accepted(_))
        });
        accepted.count() as u64
    }

    /// Removes a client whose connection has ended, and its requests. What it had begun is charged,
    /// and the rest goes back to its place. Returns `true` if nobody is left to serve the queue,
    /// which had workers.
    pub fn client_left(
        &mut self,
        holder: HolderId,
        departure: Departure,
        scene: Scene,
        now: Duration,
    ) -> bool {
        let were_lost = self.are_workers_lost();
        self.pools.clients.remove(&holder);
        let cause = Cause::Disconnected;
        let blame = Blame { cause, scene };
        let (taken, blame) = match departure {
            Departure::Gone { taken } => (taken, Some(&blame)),
            Departure::Asked => (0, None),
        };
        let started = Started::up_to(taken);
        self.detach(holder, started, blame, now);
        self.are_workers_lost() && !were_lost
    }

    /// Notes that a supervisor began to work on this queue.
    pub fn pool_began(&mut self) {
        self.pools.active += 1;
        self.pools.is_spent = false;
    }

    /// Notes that a supervisor has no workers left, and why; `is_spent` if they were given up on.
    /// Returns `true` if no workers are left at all and none will come.
    pub fn pool_ended(&mut self, why: &str, is_spent: bool) -> bool {
        self.pools.active = self.pools.active.saturating_sub(1);
        self.pools.loss = Some(why.to_owned());
        self.pools.is_spent |= is_spent;
        is_spent && self.are_workers_lost()
    }

    /// Returns `true` if there were workers and none are left, nor a client that takes items.
    #[must_use]
    pub fn are_workers_lost(&self) -> bool {
        self.pools.active == 0 && self.pools.loss.is_some() && !self.pools.has_consumers()
    }

    /// Returns the number of copies that must agree and of the workers, if there are workers and
    /// nothing that is left can end with so few.
    #[must_use]
    pub fn lack(&self) -> Option<(u32, usize)> {
        match self.pools.active {
            0 => None,
            _ => self.ledger.lack_of_workers(),
        }
    }

    /// Returns `true` if the queue has ever had workers or a client that took items, or those who
    /// share its stream may have some.
    #[must_use]
    pub fn was_ever_served(&self) -> bool {
        let by_pools = self.pools.active > 0 || self.pools.loss.is_some();
        by_pools || self.pools.had_consumers || self.shared.is_some()
    }

    /// Returns the reason why no workers are left, once a pool has ended.
    #[must_use]
    pub fn loss_of_pools(&self) -> &str {
        self.pools.loss.as_deref().unwrap_or_default()
    }
}
