//! PURE: the pools that serve a queue, and what follows where none of them has workers left.

use alloc::borrow::ToOwned;
use alloc::string::String;

use super::Dispatcher;
use crate::ledger::{Ballot, Weight};

/// The pools of this queue, as far as supervisors have told.
#[derive(Debug, Default)]
pub(super) struct Pools {
    pub(super) active: usize,
    /// The reason why no workers are left, once there were some.
    loss: Option<String>,
    /// True if they were given up on, false if they were stopped in order.
    pub(super) is_spent: bool,
}

impl<P: Weight + Clone, R: Ballot> Dispatcher<P, R> {
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
        is_spent && self.pools.active == 0
    }

    /// Returns `true` if there were workers and none are left.
    #[must_use]
    pub fn are_workers_lost(&self) -> bool {
        self.pools.active == 0 && self.pools.loss.is_some()
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

    /// Returns `true` if the queue has ever had workers, or those who share its stream may have
    /// some.
    #[must_use]
    pub fn was_ever_served(&self) -> bool {
        self.pools.active > 0 || self.pools.loss.is_some() || self.shared.is_some()
    }

    /// Returns the reason why no workers are left, once a pool has ended.
    #[must_use]
    pub fn loss_of_pools(&self) -> &str {
        self.pools.loss.as_deref().unwrap_or_default()
    }
}
