//! How much one worker may hold: as many items as about eight milliseconds of its work.
//!
//! Little credit leaves a worker idle for a round trip after each item; much lets it hoard items
//! that an idle colleague could do. Eight milliseconds are twice the time after which a worker
//! speaks of what it has done at the latest, so that it never runs out. Nobody waits behind them:
//! each gets his fair share of what waits, and where one item takes longer than those before it, or
//! a colleague has nothing to do, what was handed out in advance is taken back. It knows nothing of the worker but its service times.

use core::time::Duration;

/// Work that a worker may hold, in nanoseconds of its own service time.
const HORIZON_NS: u64 = 8_000_000;

/// More gains nothing: what is done once for all of them costs a thousandth of one already.
const ITEMS_MAX: u64 = 1024;

/// A worker that may hold so many has items of five microseconds or less.
const FAST_LIMIT: u64 = 1000;

/// Bytes that a worker may hold beyond its first item: less than half of the ring to it.
const BYTES_MAX: usize = 112 * 1024;

/// After as many equal service times the mean is theirs (a hundredth of what it was is left), and
/// the limit has doubled as often as it can.
const SETTLED_AFTER: u64 = 32;

/// The items and bytes that may be outstanding at one worker.
#[derive(Debug, Clone, Copy)]
pub struct Credit {
    is_adaptive: bool,
    /// Its worker's progress can be seen.
    is_seen: bool,
    limit: u64,
    /// Running mean of service times; `None` before the first one.
    service_ns: Option<u64>,
}

impl Credit {
    /// Starts with one item and follows the worker's service time.
    #[must_use]
    pub fn adaptive() -> Self {
        Credit {
            is_adaptive: true,
            is_seen: false,
            limit: 1,
            service_ns: None,
        }
    }

    /// One item at a time: nothing is prefetched.
    #[must_use]
    pub fn single() -> Self {
        Credit {
            is_adaptive: false,
            ..Credit::adaptive()
        }
    }

    /// The same for a worker whose progress can be seen from outside, so that it may be relied on to
    /// come back soon while its items are tiny.
    #[must_use]
    pub fn seen(self) -> Self {
        Credit {
            is_seen: true,
            ..self
        }
    }

    /// Whether its worker's items are tiny, and it can be seen when they are not any more.
    #[must_use]
    pub fn is_fast(&self) -> bool {
        self.is_seen && self.limit >= FAST_LIMIT
    }

    /// How long the worker will need for so many items, as far as is known.
    #[must_use]
    pub fn time_of(&self, items: u64) -> Duration {
        Duration::from_nanos(self.service_ns.unwrap_or(0).saturating_mul(items))
    }

    /// How many items may be outstanding now.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.limit
    }

    /// Whether `outstanding` items of `bytes` leave room for one more of `weight` bytes.
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

    /// Learns from one item that has taken so long and is not over: no others meanwhile.
    pub fn restrain(&mut self, service: Duration) {
        self.observe(service);
        self.limit = 1;
    }

    /// Learns from so many items that took `service` each. After a few of them nothing changes any
    /// more.
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
