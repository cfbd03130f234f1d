//! A rate: no more deliveries to workers than so many in a time, each attempt one of them, with bursts.
//!
//! The rule is the generic cell rate algorithm (ITU-T I.371), which is a token bucket that needs one
//! number: the time at which the next delivery is due if all came evenly. A delivery may come before
//! that by as many intervals as a burst has items besides its first. Times are since any fixed start.

use core::time::Duration;

use super::{Ballot, Ledger, Weight};

/// A rate of deliveries. There may be more to it one day, so it is made by [`new`](Self::new).
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use std::time::Duration;
///
/// use dishrack::Rate;
///
/// let rate = Rate::new(10, Duration::from_secs(1)).burst(5);
/// assert_eq!(rate.interval(), Duration::from_millis(100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// Makes a rate of so many in this time, evenly: no two come at once. 0 is taken as 1.
    #[must_use]
    pub fn new(count: u32, time: Duration) -> Self {
        Rate {
            interval: time / count.max(1),
            burst: 1,
        }
    }

    /// Lets so many come at once after a time without any; 0 is taken as 1.
    #[must_use]
    pub fn burst(mut self, items: u32) -> Self {
        self.burst = items.max(1);
        self
    }

    /// Returns the time between two of them.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.interval
    }
}

/// The time for which items are wanted in advance where they come from elsewhere: that of some round trips.
const SOON: Duration = Duration::from_millis(100);

/// The state of a rate.
#[derive(Debug)]
pub(super) struct Rated {
    rate: Rate,
    /// The time, as far as it was told.
    now: Duration,
    /// The time at which the next one is due if all come evenly.
    due: Duration,
}

impl Rated {
    /// Returns the time by which one may come before it is due.
    fn ahead(&self) -> Duration {
        self.rate.interval.saturating_mul(self.rate.burst - 1)
    }

    /// Returns the time from which on the next one may come.
    fn next(&self) -> Duration {
        self.due.saturating_sub(self.ahead())
    }

    /// Returns the number of those that may come within [`SOON`].
    pub(super) fn soon(&self) -> usize {
        let until = self.now.saturating_add(SOON).saturating_add(self.ahead());
        let Some(left) = until.checked_sub(self.due.max(self.now)) else {
            return 0;
        };
        let further = left.as_nanos().checked_div(self.rate.interval.as_nanos());
        let further = further.and_then(|further| usize::try_from(further).ok());
        further.map_or(usize::MAX, |further| further.saturating_add(1))
    }

    fn take(&mut self) {
        self.due = self.due.max(self.now).saturating_add(self.rate.interval);
    }
}

impl<P: Weight + Clone, R: Ballot> Ledger<P, R> {
    /// Hands workers no more items than this rate allows, from now on.
    pub fn handle_rate(&mut self, rate: Rate, now: Duration) {
        let due = self.rated().map_or(Duration::ZERO, |rated| rated.due);
        self.limits_mut().rated = Some(Rated { rate, now, due });
    }

    /// Returns `true` if there is a rate, so that [`handle_timeout`](Self::handle_timeout) must be
    /// called before items are handed out.
    #[must_use]
    pub fn has_rate(&self) -> bool {
        self.rated().is_some()
    }

    pub(super) fn tell_rate(&mut self, now: Duration) {
        if let Some(rated) = self.rated_mut() {
            rated.now = rated.now.max(now);
        }
    }

    /// Returns `true` if workers get nothing before a later time.
    #[must_use]
    pub fn waits_for_rate(&self) -> bool {
        let rated = self.rated();
        rated.is_some_and(|rated| rated.next() > rated.now)
    }

    /// Returns that time, if a worker waits for it: the item may be elsewhere until then.
    pub(super) fn next_by_rate(&self) -> Option<Duration> {
        let rated = self.rated().filter(|_| self.waits_for_rate())?;
        (self.consumers.idle() > 0).then(|| rated.next())
    }

    /// Counts a delivery to a worker.
    pub(super) fn count_by_rate(&mut self) {
        if let Some(rated) = self.rated_mut() {
            rated.take();
        }
    }
}
