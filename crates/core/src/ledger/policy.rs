//! The choice of how many copies an item gets, and when: plain data.

use alloc::string::{String, ToString};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Cause;

/// A result that copies can be compared by.
pub trait Ballot {
    /// Returns `true` if two copies have come to the same result.
    fn agrees(&self, other: &Self) -> bool;

    /// Returns the result in a few words, for people who compare it with another.
    fn describe(&self) -> String;

    /// Returns the cause of the failure, if this result says that the attempt has failed: a command
    /// that exits with 3 has an output that can be compared, and is not done.
    fn failure(&self) -> Option<Cause> {
        None
    }
}

impl Ballot for () {
    fn agrees(&self, (): &()) -> bool {
        true
    }

    fn describe(&self) -> String {
        String::from("done")
    }
}

impl Ballot for u64 {
    fn agrees(&self, other: &u64) -> bool {
        self == other
    }

    fn describe(&self) -> String {
        self.to_string()
    }
}

/// The number of copies of an item, for different workers, and of those that must agree.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use std::time::Duration;
///
/// use dishrack::{Copies, Hedge};
///
/// let both = Copies::first(2);
/// let vote = Copies::agree(2, 3);
/// let backup = Copies::first(2).hedge_after(Duration::from_secs(2));
/// let slowest = Copies::first(2).hedge_after(Hedge::quantile(0.95));
/// assert_eq!((both.count(), vote.needed(), backup.needed()), (2, 2, 1));
/// assert_eq!(slowest.count(), 2);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    count: u32,
    needed: u32,
    hedge: Option<Hedge>,
    is_pressing: bool,
}

/// The time after which more copies are made than are needed.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use std::time::Duration;
///
/// use dishrack::{Copies, Hedge};
///
/// // The second copy is made when the first has taken longer than 19 of 20 items did.
/// let slowest = Copies::first(2).hedge_after(Hedge::quantile(0.95));
/// assert_eq!(slowest.hedging(), Some(Hedge::Quantile(950)));
/// // A time is one as well.
/// let late = Copies::first(2).hedge_after(Duration::from_secs(2));
/// assert_eq!(late.hedging(), Some(Hedge::After(Duration::from_secs(2))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Hedge {
    /// This long after the first copy was begun.
    After(Duration),
    /// As long as this many of a thousand items took that are done.
    Quantile(u16),
}

impl From<Duration> for Hedge {
    fn from(delay: Duration) -> Self {
        Hedge::After(delay)
    }
}

impl Hedge {
    /// Waits as long as this part of all items took: 0.95 for all but the slowest twentieth.
    /// Anything outside of 0 to 1 counts as 0 or 1.
    #[must_use]
    pub fn quantile(part: f64) -> Self {
        // A NaN becomes 0.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is within 0 and 1000"
        )]
        Hedge::Quantile((part.clamp(0.0, 1.0) * 1000.0 + 0.5) as u16)
    }
}

impl Copies {
    /// Makes this many copies at once, of which the first that is done counts; 0 is taken as 1.
    #[must_use]
    pub fn first(count: u32) -> Self {
        Self::agree(1, count)
    }

    /// Makes this many copies at once; a result counts when so many of them agree. Both are at
    /// least 1, and no more can agree than there are.
    #[must_use]
    pub fn agree(needed: u32, count: u32) -> Self {
        let count = count.max(1);
        Copies {
            count,
            needed: needed.clamp(1, count),
            hedge: None,
            is_pressing: false,
        }
    }

    /// Begins with no more copies than must agree, and makes the others when those take long or
    /// disagree; but not while other items wait.
    #[must_use]
    pub fn hedge_after(mut self, hedge: impl Into<Hedge>) -> Self {
        self.hedge = Some(hedge.into());
        self
    }

    /// Makes the later copies also while other items wait.
    #[must_use]
    pub fn pressing(mut self) -> Self {
        self.is_pressing = true;
        self
    }

    /// Returns the greatest number of copies of one attempt.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns the number of copies that must agree.
    #[must_use]
    pub fn needed(&self) -> u32 {
        self.needed
    }

    /// Returns the time after which the later copies are made, if not at once.
    #[must_use]
    pub fn hedging(&self) -> Option<Hedge> {
        self.hedge
    }

    /// Returns `true` if the later copies are made also while other items wait.
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        self.is_pressing
    }
}
