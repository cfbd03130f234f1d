//! Exponential back-off with jitter, as a pure function.
//!
//! The delay doubles from a base up to a cap, and jitter takes off up to half of it, so that what
//! failed together does not come back together. It hashes the caller's seed and the attempt in
//! place of a random number, so that a run can be replayed. It is used for items and for workers'
//! restarts.

use core::time::Duration;

/// The rest after the n-th failure in a row.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use std::time::Duration;
///
/// use dishrack::{Backoff, Options};
///
/// let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1));
/// // Its second rest takes 100 to 200 ms, its fifth half a second to a second.
/// assert!((100..=200).contains(&backoff.delay(2, 7).as_millis()));
/// assert!((500..=1000).contains(&backoff.delay(5, 7).as_millis()));
/// let options = Options::default().max_attempts(6).backoff(backoff);
/// assert_eq!(options.backoff, backoff);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// Makes a back-off without any rest.
    #[must_use]
    pub const fn none() -> Self {
        Backoff {
            base: Duration::ZERO,
            cap: Duration::ZERO,
        }
    }

    /// Makes a back-off that rests between half of and all of `base`, then twice that, four times
    /// that, up to `cap`.
    #[must_use]
    pub const fn exponential(base: Duration, cap: Duration) -> Self {
        Backoff { base, cap }
    }

    /// Returns the rest after failure number `failures` (1 for the first); `seed` decides the
    /// jitter.
    #[must_use]
    pub fn delay(&self, failures: u32, seed: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let full = self.base.saturating_mul(1 << doublings).min(self.cap);
        let half = full / 2;
        // The upper 32 bits of the hash as a fraction of 2^32.
        let fraction = mix(seed ^ (u64::from(failures) << 32)) >> 32;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let jitter = (u128::from(nanos) * u128::from(fraction)) >> 32;
        half + Duration::from_nanos(u64::try_from(jitter).unwrap_or(nanos))
    }
}

/// Mixes the bits of a number: the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast Splittable
/// Pseudorandom Number Generators", OOPSLA 2014).
pub fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_within_their_jitter_and_stop_at_the_cap() {
        let backoff = Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1));
        for seed in 0..200 {
            for (failures, full_ms) in [
                (1, 100),
                (2, 200),
                (3, 400),
                (4, 800),
                (5, 1000),
                (99, 1000),
            ] {
                let delay = backoff.delay(failures, seed);
                let full = Duration::from_millis(full_ms);
                assert!(delay >= full / 2 && delay <= full, "{failures}: {delay:?}");
            }
        }
    }

    #[test]
    fn different_seeds_rest_differently() {
        let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(1));
        assert_ne!(backoff.delay(1, 1), backoff.delay(1, 2));
        assert_eq!(backoff.delay(1, 1), backoff.delay(1, 1));
    }

    #[test]
    fn none_never_rests() {
        assert_eq!(Backoff::none().delay(u32::MAX, 7), Duration::ZERO);
    }
}
