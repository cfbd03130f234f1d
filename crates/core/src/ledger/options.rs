//! The choices of whoever makes a ledger, and what it asks of what it carries: plain data.

use alloc::vec::Vec;

use super::Backoff;
#[cfg(doc)]
use super::Cause;
use super::policy::Copies;

/// The number of items that may wait before a put is refused.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use dishrack::{Capacity, Options};
///
/// let options = Options::default().capacity(Capacity::Rendezvous);
/// assert_eq!(options.capacity.bound(), Some(0));
/// assert_eq!(Capacity::Bounded(100).bound(), Some(100));
/// assert_eq!(Options::default().capacity.bound(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Capacity {
    /// No bound.
    #[default]
    Unbounded,
    /// At most this many items that no handler and no `get` has taken yet.
    Bounded(usize),
    /// None may wait: an item is accepted only when an idle worker or a `get` is there to take it.
    Rendezvous,
}

impl Capacity {
    /// Returns the number of items that may wait, if there is a bound.
    #[must_use]
    pub fn bound(self) -> Option<usize> {
        match self {
            Capacity::Unbounded => None,
            Capacity::Bounded(bound) => Some(bound),
            Capacity::Rendezvous => Some(0),
        }
    }
}

/// The rules that one ledger, and so one queue, keeps to. There may be more of them one day, so
/// they are made from the defaults.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use dishrack::{Capacity, Options};
///
/// let options = Options::default().capacity(Capacity::Bounded(100)).max_attempts(5);
/// assert_eq!(options.max_attempts, 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The number of items that may wait.
    pub capacity: Capacity,
    /// The number of failed attempts that make the item a dead letter; 0 is taken as 1.
    pub max_attempts: u32,
    /// The number of lost attempts ([`Cause::is_loss`]) that make it a dead letter, counted apart
    /// from those that failed; 0 is taken as 1. `None`: a lost attempt counts as a failed one.
    pub max_lost_attempts: Option<u32>,
    /// The rest of a failed item before its next attempt.
    pub backoff: Backoff,
    /// The copies of each item that does not choose for itself; `None`: one.
    pub copies: Option<Copies>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            capacity: Capacity::Unbounded,
            max_attempts: 3,
            max_lost_attempts: None,
            backoff: Backoff::none(),
            copies: None,
        }
    }
}

impl Options {
    /// Bounds the number of items that may wait.
    #[must_use]
    pub fn capacity(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Gives an item up after so many failed attempts; 0 is taken as 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Counts lost attempts apart from failed ones, and gives an item up after so many of them.
    #[must_use]
    pub fn max_lost_attempts(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.max_lost_attempts = attempts.into();
        self
    }

    /// Lets a failed item rest before its next attempt.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Has each item run by several workers at once.
    #[must_use]
    pub fn copies(mut self, copies: impl Into<Option<Copies>>) -> Self {
        self.copies = copies.into();
        self
    }
}

/// The facts that a ledger must know of what it carries.
pub trait Weight {
    /// Returns the payload's size in bytes, for credits.
    fn weight(&self) -> usize;

    /// Returns the copies that this item is to have, if it chooses for itself.
    fn copies(&self) -> Option<Copies> {
        None
    }

    /// Returns all that a journal keeps of it, where that is so little that copying it at once costs
    /// less than keeping the payload until it is written.
    fn small_body(&self) -> Option<&[u8]> {
        None
    }
}

impl Weight for Vec<u8> {
    fn weight(&self) -> usize {
        self.len()
    }
}
