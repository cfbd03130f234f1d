//! How much one worker may hold: as many items as about a millisecond of its work.
//!
//! Little credit leaves a worker idle for a round trip after each item; much lets it hoard items
//! that an idle colleague could do. A millisecond is twenty times the round trip over a channel,
//! and too short for hoarding to show. It knows nothing of the worker but its service times.

use std::time::Duration;

/// Work that a worker may hold, in nanoseconds of its own service time.
const HORIZON_NS: u64 = 1_000_000;

/// More would not fit into a packet, and gains nothing: a batch of 256 is within a factor of two
/// of one of 1024 over ipc-channel.
const ITEMS_MAX: u64 = 1024;

/// Bytes that a worker may hold beyond its first item: two full frames of the process link.
const BYTES_MAX: usize = 112 * 1024;

/// The items and bytes that may be outstanding at one worker.
#[derive(Debug, Clone, Copy)]
pub struct Credit {
    is_adaptive: bool,
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
        let wanted = (HORIZON_NS / mean.max(1)).clamp(1, ITEMS_MAX);
        self.limit = wanted.min(self.limit * 2);
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
