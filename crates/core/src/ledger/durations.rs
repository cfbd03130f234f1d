//! The durations of attempts, by their outcomes: counts in a fixed number of buckets.
//!
//! The bounds are those that OpenTelemetry advises for the duration of processing a message
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/>, v1.44.0).

use core::time::Duration;

/// The upper bounds of all buckets but the last one, which has none.
pub const BOUNDS: [Duration; 14] = [
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(75),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(750),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_millis(7_500),
    Duration::from_secs(10),
];

/// Counts of durations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Histogram {
    /// The number in each bucket: up to its bound, and beyond that of the one before.
    pub counts: [u64; BOUNDS.len() + 1],
    /// The sum of all.
    pub sum: Duration,
}

impl Histogram {
    /// Counts so many attempts that took this long each.
    pub(crate) fn observe(&mut self, duration: Duration, count: u64) {
        let place = BOUNDS.iter().position(|bound| duration <= *bound);
        self.counts[place.unwrap_or(BOUNDS.len())] += count;
        let seconds = duration.as_secs().saturating_mul(count);
        let nanos = u64::from(duration.subsec_nanos()).saturating_mul(count);
        let sum = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos));
        self.sum = self.sum.saturating_add(sum);
    }

    /// Returns the number of all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The durations of attempts. Those of items that end in a run count with their mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durations {
    /// Those of attempts by which an item was done.
    pub done: Histogram,
    /// Those of failed attempts.
    pub failed: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_up_to_its_bound() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::ZERO, 1);
        histogram.observe(Duration::from_millis(5), 2);
        histogram.observe(Duration::from_micros(5_001), 4);
        histogram.observe(Duration::from_secs(10), 8);
        histogram.observe(Duration::MAX, 1);
        assert_eq!(histogram.counts[..2], [3, 4]);
        assert_eq!(histogram.counts[13..], [8, 1]);
        assert_eq!((histogram.total(), histogram.sum), (16, Duration::MAX));
    }

    #[test]
    fn the_sum_is_exact() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::new(1, 500_000_000), 3);
        histogram.observe(Duration::from_millis(1), 1);
        assert_eq!(histogram.sum, Duration::from_millis(4_501));
    }
}
