//! The rules that a supervisor keeps to for each of its workers, in the words of Erlang/OTP's
//! `supervisor`. The module knows no process.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::ledger::{Backoff, mix};

/// The ends after which a worker is started again. They are the three of Erlang/OTP, so there will be no
/// other one.
///
/// ```
/// # use dishrack_core::pool::spec as dishrack;
/// use dishrack::Restart;
///
/// /// Reads the words of Docker's restart policies.
/// fn policy(word: &str) -> Option<Restart> {
///     match word {
///         "always" => Some(Restart::Permanent),
///         "on-failure" => Some(Restart::Transient),
///         "no" => Some(Restart::Temporary),
///         _ => None,
///     }
/// }
/// assert_eq!(policy("on-failure"), Some(Restart::Transient));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Any end.
    #[default]
    Permanent,
    /// Any end other than by itself with exit code 0.
    Transient,
    /// None.
    Temporary,
}

/// The bounds beyond which a worker is replaced, or ended because of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The longest time for one item.
    pub time_limit: Option<Duration>,
    /// The time between SIGTERM and SIGKILL.
    pub time_limit_grace: Duration,
    /// The greatest number of items for one worker.
    pub tasks_max: Option<u64>,
    /// The greatest resident memory of one worker, in bytes.
    pub memory_max: Option<u64>,
    /// The greatest memory of a worker and what it has started while it works on an item, in bytes.
    pub memory_limit: Option<u64>,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            time_limit: None,
            time_limit_grace: Duration::from_secs(1),
            tasks_max: None,
            memory_max: None,
            memory_limit: None,
        }
    }
}

impl Bounds {
    /// Reduces a bound by up to a tenth, decided by `seed`, so that workers that were started
    /// together are not replaced together.
    pub fn jittered(bound: u64, seed: u64) -> u64 {
        let most = u128::from(bound / 10) + 1;
        let less = (u128::from(mix(seed)) * most) >> 64;
        bound - u64::try_from(less).unwrap_or(0)
    }
}

/// The rules for one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChildSpec {
    /// The ends after which it is started again.
    pub restart: Restart,
    /// The number of restarts allowed within `period`: with 10, the eleventh death gives the worker
    /// up. Deaths that an item caused are charged to that item instead. The same number of failed
    /// boots in a row gives it up too, however long they take.
    pub intensity: u32,
    /// The period of `intensity`.
    pub period: Duration,
    /// The longest time to finish what it has started when it is asked to stop.
    pub shutdown: Duration,
    /// The longest time until it is ready.
    pub boot_deadline: Duration,
    /// The rest between death and restart.
    pub backoff: Backoff,
}

impl Default for ChildSpec {
    fn default() -> Self {
        ChildSpec {
            restart: Restart::Permanent,
            intensity: 10,
            period: Duration::from_secs(10),
            // A container's end is often enforced after 10 s.
            shutdown: Duration::from_secs(8),
            boot_deadline: Duration::from_secs(30),
            backoff: Backoff::exponential(Duration::from_millis(10), Duration::from_secs(1)),
        }
    }
}

/// The name of a pool's workers, which the number of the slot follows, from 1 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolName {
    /// The name.
    pub name: String,
    /// True if the first worker has just the name, without a number.
    pub is_of_first: bool,
}

impl PoolName {
    /// Returns the name of the worker in this slot, counted from 0.
    #[must_use]
    pub fn of_worker(&self, slot: usize) -> String {
        match slot {
            0 if self.is_of_first => self.name.clone(),
            _ => format!("{}-{}", self.name, slot + 1),
        }
    }
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Returns the name of the pool that the worker with this name is in: all of it where there is no
/// slot in it.
#[must_use]
pub fn pool_of(worker: &str) -> &str {
    worker.rsplit_once('-').map_or(worker, |(pool, _)| pool)
}

/// Returns the slot of the worker with this name.
#[must_use]
pub fn slot_of(worker: &str) -> Option<u64> {
    worker.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workers_name_says_its_slot() {
        for name in ["worker", "a-1", ""] {
            let pool = PoolName {
                name: name.into(),
                is_of_first: false,
            };
            let worker = pool.of_worker(11);
            assert_eq!((pool_of(&worker), slot_of(&worker)), (name, Some(12)));
            let exact = PoolName {
                is_of_first: true,
                ..pool
            };
            assert_eq!(
                (exact.of_worker(0).as_str(), exact.of_worker(11)),
                (name, worker)
            );
        }
        assert_eq!((pool_of("main"), slot_of("main")), ("main", None));
    }

    #[test]
    fn a_share_of_a_bound_is_at_most_a_tenth_less() {
        for bound in [1, 9, 10, 1000, u64::MAX] {
            for seed in 0..100 {
                let share = Bounds::jittered(bound, seed);
                assert!(
                    share <= bound && share >= bound - bound / 10,
                    "{bound}: {share}"
                );
            }
        }
        let shares: alloc::collections::BTreeSet<u64> =
            (0..100).map(|seed| Bounds::jittered(1000, seed)).collect();
        assert!(shares.len() > 20, "{shares:?}");
    }
}
