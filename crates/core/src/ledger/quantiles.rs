//! A sketch of many durations in bounded room, which tells their quantiles.
//!
//! Each duration is counted in one of 16 equal parts of its power of two of microseconds, as in
//! HdrHistogram (<https://hdrhistogram.github.io/HdrHistogram/>), so a quantile is at most a
//! sixteenth too long, and never too short. There is no library of it for code without `std`.

use alloc::vec::Vec;
use core::time::Duration;

/// The bits of a duration that are told apart below its leading one.
const BITS: u32 = 4;
const PARTS: usize = 1 << BITS;
/// Durations of up to `2^40` us, some 12 days; longer ones count as that long.
const POWERS: usize = 40;
const PLACES: usize = POWERS * PARTS;

#[derive(Debug, Clone, Default)]
pub(super) struct Quantiles {
    /// Empty until a duration comes.
    counts: Vec<u64>,
    total: u64,
}

impl Quantiles {
    pub(super) fn observe(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts.resize(PLACES, 0);
        if let Some(count) = self.counts.get_mut(place_of(micros)) {
            *count += 1;
            self.total += 1;
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Returns a duration that this many of a thousand do not exceed; `None` without any.
    pub(super) fn at(&self, permille: u16) -> Option<Duration> {
        let rank = (self.total * u64::from(permille)).div_ceil(1000).max(1);
        let mut sum = 0;
        let place = self.counts.iter().position(|count| {
            sum += count;
            sum >= rank
        })?;
        Some(Duration::from_micros(end_of(place)))
    }
}

/// Returns the place of a duration in microseconds.
fn place_of(micros: u64) -> usize {
    if micros < PARTS as u64 {
        return usize::try_from(micros).unwrap_or_default();
    }
    let shift = micros.ilog2() - BITS;
    let part = usize::try_from(micros >> shift).unwrap_or(PARTS) - PARTS;
    ((shift as usize + 1) * PARTS + part).min(PLACES - 1)
}

/// Returns the longest duration of a place, in microseconds.
fn end_of(place: usize) -> u64 {
    let (power, part) = (place / PARTS, (place % PARTS) as u64);
    match power {
        0 => part,
        power => ((part + PARTS as u64 + 1) << (power - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_at_most_a_sixteenth_too_long() {
        for exact in [1, 15, 16, 17, 100, 999, 1_000_000, 86_400_000_000] {
            let mut sketch = Quantiles::default();
            sketch.observe(Duration::from_micros(exact));
            let told = sketch.at(500).map(|told| told.as_micros());
            let told = u64::try_from(told.expect("one was observed")).expect("it fits");
            assert!(
                (exact..=exact + exact / 16).contains(&told),
                "{exact}: {told}"
            );
        }
    }

    #[test]
    fn one_of_fifty_does_not_change_the_95th() {
        let mut sketch = Quantiles::default();
        assert_eq!(sketch.at(950), None);
        for number in 0..500 {
            let is_slow = number % 50 == 0;
            sketch.observe(Duration::from_millis(if is_slow { 5000 } else { 10 }));
        }
        assert_eq!(sketch.total(), 500);
        let told = sketch.at(950).expect("many were observed");
        assert!(told < Duration::from_millis(11), "{told:?}");
        assert!(sketch.at(990).expect("many") > Duration::from_secs(4));
        sketch.observe(Duration::MAX);
        assert!(sketch.at(1000).expect("many") > Duration::from_secs(86_400));
    }
}
