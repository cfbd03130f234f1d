//! Holds items to their limit of memory: a pure state machine over samples of one worker process and
//! of what that has started.
//!
//! Nobody says that a process has grown, so it is looked at again and again, but only while it has
//! items: the sooner the less is left of the limit, and the more seldom the more a look costs. A
//! worker whose item is over the limit is killed at once, because a process that was asked to end
//! may grow on. Where the kernel holds a worker to the limit, nobody looks, and its kill is noted. It names
//! no clock and no process: samples come in, orders go out.

use core::time::Duration;

/// The memory of a worker at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemorySample {
    /// The ordinal of the delivery that it has been at since before the measurement; 0 for none.
    pub current: u64,
    /// True if it has deliveries.
    pub is_busy: bool,
    /// Its memory and that of what it has started, in bytes.
    pub bytes: u64,
    /// The time in which all workers that are watched can be looked at once.
    pub cost: Duration,
}

/// An order about the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryEffect {
    /// End it (SIGKILL).
    Kill,
}

/// The memory that a process fills in a second at most: some machines are faster, and then the
/// item is over its limit for a moment.
const GROWTH: u64 = 4 << 30;

/// The shortest and the longest time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(250);

/// Looks take one part of so many of a processor's time at most.
const COST_SHARE: u32 = 50;

/// The watch over the memory of one life of one worker.
#[derive(Debug, Clone)]
pub struct MemoryLimiter {
    limit: u64,
    /// True if somebody else holds it to the limit, so that nobody looks.
    is_held: bool,
    /// The time of the next look; `None` while it has nothing.
    next: Option<Duration>,
    /// The delivery for which it is killed.
    over: Option<u64>,
}

impl MemoryLimiter {
    /// Begins at `now`, with a look.
    #[must_use]
    pub fn new(limit: u64, now: Duration) -> Self {
        MemoryLimiter {
            limit,
            is_held: false,
            next: Some(now),
            over: None,
        }
    }

    /// Makes one for a worker that the kernel holds to the limit.
    #[must_use]
    pub fn held(limit: u64) -> Self {
        MemoryLimiter {
            limit,
            is_held: true,
            next: None,
            over: None,
        }
    }

    /// Notes that the kernel killed the worker for its limit, at this delivery; 0 for none.
    pub fn handle_killed(&mut self, current: u64) {
        self.over = self.over.or((current != 0).then_some(current));
        self.next = None;
    }

    /// Returns the limit in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Returns the time of the next look.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.next
    }

    /// Returns the ordinal of the delivery that was over the limit, if one was.
    #[must_use]
    pub fn over(&self) -> Option<u64> {
        self.over
    }

    /// Notes that the worker, which had nothing, was given something.
    pub fn handle_given(&mut self, now: Duration) {
        if self.over.is_none() && !self.is_held {
            self.next.get_or_insert(now);
        }
    }

    /// Examines a sample, and returns what is to be done about the worker.
    pub fn observe(&mut self, sample: MemorySample, now: Duration) -> Option<MemoryEffect> {
        self.next = None;
        if self.over.is_some() || !sample.is_busy {
            return None;
        }
        let left = self.limit.checked_sub(sample.bytes);
        if left.is_none() && sample.current != 0 {
            self.over = Some(sample.current);
            return Some(MemoryEffect::Kill);
        }
        let wait = time_to_fill(left.unwrap_or(0)).clamp(LOOK_MIN, LOOK_MAX);
        let wait = wait.max(sample.cost.saturating_mul(COST_SHARE));
        self.next = Some(now.saturating_add(wait));
        None
    }
}

fn time_to_fill(bytes: u64) -> Duration {
    // More than a second is longer than any wait.
    let part = u128::from(bytes.min(GROWTH)) * 1_000_000_000 / u128::from(GROWTH);
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}
