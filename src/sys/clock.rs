//! The machine's clock, and the deadline of a call. It knows no limits of items or workers.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Returns the machine's monotonic clock in nanoseconds.
pub(crate) fn monotonic_ns() -> u64 {
    ns_of(ClockId::CLOCK_MONOTONIC)
}

/// Returns the monotonic clock as it stood at the last tick of the kernel, a few milliseconds ago at most. It
/// costs a fraction of the exact time.
pub(crate) fn coarse_ns() -> u64 {
    ns_of(ClockId::CLOCK_MONOTONIC_COARSE)
}

// By libc: rustix finds no vDSO in a program that is static with musl, and asks the kernel each time.
fn ns_of(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).expect("every kernel that this runs on has these clocks");
    let (seconds, nanoseconds) = (now.tv_sec().unsigned_abs(), now.tv_nsec().unsigned_abs());
    seconds
        .wrapping_mul(1_000_000_000)
        .wrapping_add(nanoseconds)
}

/// The longest time for which a `get` that does not wait for new items waits for those that loops
/// have in advance. They give them back at once, unless they are stopped.
pub(crate) const RECALL: Duration = Duration::from_millis(20);

/// The time until which a call may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deadline {
    None,
    Forever,
    Until(Instant),
}

impl Deadline {
    /// Makes the deadline of a call that begins now; never, beyond the range of the clock.
    pub(crate) fn lasting(time: Duration) -> Self {
        Instant::now()
            .checked_add(time)
            .map_or(Deadline::Forever, Deadline::Until)
    }

    pub(crate) fn is_over(self) -> bool {
        match self {
            Deadline::None => true,
            Deadline::Forever => false,
            Deadline::Until(deadline) => Instant::now() >= deadline,
        }
    }
}
