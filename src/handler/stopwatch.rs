//! Measures how long items take, with few reads of the clock.
//!
//! A read costs as much as a tiny item. So one item's end is the next one's beginning, and while
//! items are tiny the clock is read for only a few of them. The sum of their times is always right;
//! the beginning of one is at most a few microseconds too early.

use std::time::Duration;

use crate::sys::clock::monotonic_ns;

/// The time in nanoseconds below which an item is tiny.
const TINY_NS: u64 = 500;

/// The number of tiny items in a row after which the next ones are expected to be tiny too.
const TRUST_AFTER: u32 = 16;

/// The greatest number of those between two reads of the clock.
const SKIPS_MAX: u32 = 7;

#[derive(Debug, Default)]
pub(crate) struct StopWatch {
    /// The last read of the clock: nanoseconds of the monotonic clock.
    seen_ns: u64,
    /// The number of items since then.
    skipped: u32,
    /// The number of tiny items in a row.
    tiny: u32,
    /// The mean time of an item in nanoseconds, which rises slowly.
    usual_ns: u64,
    longest_ns: u64,
    is_running: bool,
}

impl StopWatch {
    pub(crate) fn begin(&mut self) -> u64 {
        self.begin_at(monotonic_ns)
    }

    /// Ends an item. Returns the time that it took, together with those before it that were not
    /// timed. `must_look` demands the right time for this item.
    pub(crate) fn end(&mut self, must_look: bool) -> Duration {
        self.end_at(must_look, monotonic_ns)
    }

    /// Returns the time in nanoseconds that the item which ended last, or one before it that was not
    /// timed, can have taken, if the others took as long as is usual; 0 if it was not timed itself.
    pub(crate) fn longest_ns(&self) -> u64 {
        self.longest_ns
    }

    /// Stops the watch, because something else than an item follows.
    pub(crate) fn stop(&mut self) {
        self.is_running = false;
    }

    fn begin_at(&mut self, now_ns: impl FnOnce() -> u64) -> u64 {
        if !self.is_running {
            self.is_running = true;
            self.seen_ns = now_ns();
            self.skipped = 0;
        }
        self.seen_ns
    }

    fn end_at(&mut self, must_look: bool, now_ns: impl FnOnce() -> u64) -> Duration {
        if !must_look && self.tiny >= TRUST_AFTER && self.skipped < SKIPS_MAX {
            self.skipped += 1;
            self.longest_ns = 0;
            return Duration::ZERO;
        }
        let now_ns = now_ns();
        let service_ns = now_ns.saturating_sub(self.seen_ns);
        let items = self.skipped + 1;
        let mean_ns = service_ns / u64::from(items);
        let others_ns = self.usual_ns.saturating_mul(self.skipped.into());
        self.longest_ns = service_ns.saturating_sub(others_ns);
        self.usual_ns = mean_ns.min(self.usual_ns - self.usual_ns / 8 + mean_ns / 8);
        self.tiny = match mean_ns < TINY_NS {
            true => self.tiny.saturating_add(items),
            false => 0,
        };
        (self.seen_ns, self.skipped) = (now_ns, 0);
        Duration::from_nanos(service_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times items of these durations. Returns the watch's sum, and the number of reads.
    fn run(items: &[u64], must_look: bool) -> (u64, usize) {
        let mut watch = StopWatch::default();
        let (mut now_ns, mut looks, mut told) = (1000, 0, Duration::ZERO);
        for (number, took_ns) in items.iter().enumerate() {
            watch.begin_at(|| now_ns);
            now_ns += took_ns;
            let is_last = number + 1 == items.len();
            told += watch.end_at(must_look || is_last, || {
                looks += 1;
                now_ns
            });
        }
        (u64::try_from(told.as_nanos()).unwrap(), looks)
    }

    #[test]
    fn times_add_up_whatever_is_looked_at() {
        proptest::proptest!(|(items in proptest::collection::vec(0_u64..2000, 1..200))| {
            proptest::prop_assert_eq!(run(&items, false).0, items.iter().sum::<u64>());
        });
    }

    #[test]
    fn tiny_items_are_seldom_looked_at_and_others_always() {
        assert!(run(&[100; 1000], false).1 < 150);
        assert_eq!(run(&[1000; 1000], false).1, 1000);
        assert_eq!(run(&[100; 1000], true).1, 1000);
    }

    #[test]
    fn one_long_item_among_tiny_ones_stands_out() {
        let mut watch = StopWatch::default();
        let (mut now_ns, mut longest) = (0, Vec::new());
        for number in 0..1000 {
            watch.begin_at(|| now_ns);
            now_ns += if number % 300 == 299 { 1500 } else { 150 };
            watch.end_at(false, || now_ns);
            longest.push(watch.longest_ns());
        }
        let found: Vec<usize> = (100..1000).filter(|at| longest[*at] >= 1000).collect();
        let follows = |(at, long): (&usize, usize)| (long..=long + 7).contains(at);
        assert!(found.iter().zip([299, 599, 899]).all(follows), "{found:?}");
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn a_pause_is_nobodys_time() {
        let mut watch = StopWatch::default();
        watch.begin_at(|| 1000);
        assert_eq!(watch.end_at(true, || 1500), Duration::from_nanos(500));
        watch.stop();
        assert_eq!(watch.begin_at(|| 9000), 9000);
        assert_eq!(watch.end_at(true, || 9100), Duration::from_nanos(100));
    }
}
