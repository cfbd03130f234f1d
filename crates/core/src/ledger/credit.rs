//! The credit of one worker: as many items as about eight milliseconds of its work.
//!
//! Little credit leaves a worker idle for a round trip after each item; much credit lets it hold
//! items that an idle one could do. Eight milliseconds are twice the longest time after which a
//! worker reports what it has done, so it never runs out. No item waits long behind these: each
//! worker gets its fair share of what waits. Where one item takes longer than those before it, or
//! another worker is idle, items handed out in advance are taken back. It knows nothing of the
//! worker but its service times.

use core::time::Duration;

/// The work that a worker may hold, in nanoseconds of its own service time.
const HORIZON_NS: u64 = 8_000_000;

/// The greatest credit. More gains nothing: the work done once for all of them costs a thousandth
/// of one already.
const ITEMS_MAX: u64 = 1024;

/// The credit from which a worker counts as fast: its items take five microseconds or less.
const FAST_LIMIT: u64 = 1000;

/// The bytes that a worker may hold beyond its first item: less than half of the ring to it.
const BYTES_MAX: usize = 112 * 1024;

/// The number of equal service times after which nothing changes: a hundredth of the former mean is
/// left, and the limit has doubled as often as it can.
const SETTLED_AFTER: u64 = 32;

/// The items and bytes that may be outstanding at one worker.
#[derive(Debug, Clone, Copy)]
pub struct Credit {
    is_adaptive: bool,
    /// True if its worker's progress can be seen.
    is_seen: bool,
    is_for_loop: bool,
    limit: u64,
    /// The running mean of service times; `None` before the first one.
    service_ns: Option<u64>,
}

impl Credit {
    /// Makes a credit that starts with one item and follows the worker's service time.
    #[must_use]
    pub fn adaptive() -> Self {
        Credit {
            is_adaptive: true,
            is_seen: false,
            is_for_loop: false,
            limit: 1,
            service_ns: None,
        }
    }

    /// Makes a credit of one item at a time: nothing is prefetched.
    #[must_use]
    pub fn single() -> Self {
        Credit {
            is_adaptive: false,
            ..Credit::adaptive()
        }
    }

    /// Makes it the credit of a worker whose progress can be seen from outside, which may therefore
    /// be relied on to come back soon while its items are tiny.
    #[must_use]
    pub fn seen(self) -> Self {
        Credit {
            is_seen: true,
            ..self
        }
    }

    /// Makes it the credit of a worker with a loop of its own, which says when it wants an item, and
    /// may work on several at once.
    #[must_use]
    pub fn for_loop(self) -> Self {
        Credit {
            is_for_loop: true,
            ..self
        }
    }

    /// Returns `true` if its worker has a loop of its own.
    #[must_use]
    pub fn is_for_loop(&self) -> bool {
        self.is_for_loop
    }

    /// Returns `true` if its worker's items are tiny, and it can be seen when they no longer are.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.is_seen && self.limit >= FAST_LIMIT
    }

    /// Returns the time that the worker will need for this many items, as far as it is known.
    #[must_use]
    pub fn time_of(&self, items: u64) -> Duration {
        Duration::from_nanos(self.service_ns.unwrap_or(0).saturating_mul(items))
    }

    /// Returns the number of items that may be outstanding now.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.limit
    }

    /// Returns `true` if `outstanding` items of `bytes` leave room for one more of `weight` bytes.
    #[must_use]
    pub fn allows(&self, outstanding: u64, bytes: usize, weight: usize) -> bool {
        outstanding == 0 || (outstanding < self.limit && bytes.saturating_add(weight) <= BYTES_MAX)
    }

    /// Learns from one served item. The mean rises fast and falls slowly, and the limit at most
    /// doubles: a mistake towards too little costs a round trip, one towards too much costs an
    /// idle worker.
    pub fn observe(&mut self, service: Duration) {
        if !self.is_adaptive {
            return;
        }
        let sample = u64::try_from(service.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mean = match self.service_ns {
            None => sample,
            Some(mean) if sample > mean => mean + (sample - mean) / 2,
            Some(mean) => mean - (mean - sample) / 8,
        };
        self.service_ns = Some(mean);
        let wanted = HORIZON_NS.div_ceil(mean.max(1)).clamp(1, ITEMS_MAX);
        self.limit = wanted.min(self.limit * 2);
    }

    /// Learns from one item that has taken this long and is not over: nothing is added meanwhile.
    pub fn restrain(&mut self, service: Duration) {
        self.observe(service);
        self.limit = 1;
    }

    /// Learns from this many items that took `service` each. After a few of them nothing changes.
    pub fn observe_many(&mut self, service: Duration, count: u64) {
        for _ in 0..count.min(SETTLED_AFTER) {
            self.observe(service);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_worker_may_hold_one_item() {
        assert_eq!(Credit::adaptive().items(), 1);
        assert!(Credit::adaptive().allows(0, 0, usize::MAX));
        assert!(!Credit::adaptive().allows(1, 1, 1));
    }

    #[test]
    fn short_items_double_the_credit_up_to_its_limit() {
        let mut credit = Credit::adaptive();
        for expected in [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024] {
            credit.observe(Duration::from_nanos(100));
            assert_eq!(credit.items(), expected);
        }
    }

    #[test]
    fn one_long_item_takes_the_credit_back() {
        let mut credit = Credit::adaptive();
        for _ in 0..12 {
            credit.observe(Duration::from_micros(1));
        }
        credit.observe(Duration::from_millis(100));
        assert_eq!(credit.items(), 1);
    }

    #[test]
    fn an_item_that_is_not_over_takes_all_credit_back() {
        let mut credit = Credit::adaptive();
        credit.observe_many(Duration::from_micros(1), 100);
        credit.restrain(Duration::from_millis(2));
        assert_eq!(credit.items(), 1);
        credit.observe_many(Duration::from_micros(1), 100);
        assert!(credit.items() > 256, "it learns again");
    }

    #[test]
    fn bytes_are_bounded_beyond_the_first_item() {
        let mut credit = Credit::adaptive();
        credit.observe(Duration::from_nanos(1));
        assert!(credit.allows(1, 1000, BYTES_MAX - 1000));
        assert!(!credit.allows(1, 1000, BYTES_MAX));
    }

    #[test]
    fn single_never_learns() {
        let mut credit = Credit::single();
        credit.observe(Duration::from_nanos(1));
        assert_eq!(credit.items(), 1);
    }
}
