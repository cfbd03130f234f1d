//! Decides whether one more restart is allowed, by past restarts and the time alone; and counts restarts by
//! their causes.

use alloc::vec::Vec;
use core::time::Duration;

use crate::ledger::{Cause, Exit};

/// The restarts within the last period, oldest first.
///
/// # Example
///
/// ```
/// use dishrack_core::pool::restart::Window;
/// use core::time::Duration;
///
/// let mut window = Window::default();
/// let (intensity, period) = (1, Duration::from_secs(5));
/// assert_eq!(window.note(Duration::from_secs(1), intensity, period), Some(1));
/// assert_eq!(window.note(Duration::from_secs(2), intensity, period), None);
/// assert_eq!(window.note(Duration::from_secs(9), intensity, period), Some(1));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    stamps: Vec<Duration>,
}

impl Window {
    /// Notes a restart at `now`. Returns their number within `period`; `None` beyond `intensity`.
    pub fn note(&mut self, now: Duration, intensity: u32, period: Duration) -> Option<u32> {
        self.stamps
            .retain(|stamp| now.saturating_sub(*stamp) <= period);
        self.stamps.push(now);
        let recent = u32::try_from(self.stamps.len()).unwrap_or(u32::MAX);
        (recent <= intensity).then_some(recent)
    }
}

/// The reason for which a worker was started again.
///
/// ```
/// # mod dishrack { pub use dishrack_core::{ledger::*, pool::restart::*}; }
/// use dishrack::{Cause, Exit, RestartCause};
///
/// let cause = RestartCause::of_death(&Cause::WorkerDied(Exit::Signaled(11)));
/// assert_eq!((cause, cause.word()), (RestartCause::Signal, "signal"));
/// let words = RestartCause::ALL.map(RestartCause::word);
/// assert_eq!(words, ["oom", "signal", "timeout", "exit", "recycled", "memory"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartCause {
    /// The kernel killed it for lack of memory.
    OutOfMemory,
    /// A signal ended it.
    Signal,
    /// Its item took too long.
    TimeLimit,
    /// It ended by itself.
    Exit,
    /// It was replaced, because it had done as much, or had as much memory, as a worker may.
    Recycled,
    /// Its item used more memory than it may.
    MemoryLimit,
}

impl RestartCause {
    /// All of them.
    pub const ALL: [RestartCause; 6] = [
        RestartCause::OutOfMemory,
        RestartCause::Signal,
        RestartCause::TimeLimit,
        RestartCause::Exit,
        RestartCause::Recycled,
        RestartCause::MemoryLimit,
    ];

    /// Returns its word, which is a contract with other programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            RestartCause::OutOfMemory => "oom",
            RestartCause::Signal => "signal",
            RestartCause::TimeLimit => "timeout",
            RestartCause::Exit => "exit",
            RestartCause::Recycled => "recycled",
            RestartCause::MemoryLimit => "memory",
        }
    }

    /// Returns the one of a death with this cause.
    #[must_use]
    pub fn of_death(cause: &Cause) -> Self {
        match cause {
            Cause::OutOfMemory => RestartCause::OutOfMemory,
            Cause::TimedOut(_) => RestartCause::TimeLimit,
            Cause::MemoryLimit(_) => RestartCause::MemoryLimit,
            Cause::WorkerDied(Exit::Signaled(_)) => RestartCause::Signal,
            _ => RestartCause::Exit,
        }
    }
}

/// The number of restarts by their causes.
///
/// ```
/// # use dishrack_core::pool::restart as dishrack;
/// use dishrack::{RestartCause, RestartCounts};
///
/// /// Says how many restarts there were for each cause.
/// fn line(counts: &RestartCounts) -> String {
///     let seen = RestartCause::ALL.into_iter().filter(|cause| counts.of(*cause) > 0);
///     let parts = seen.map(|cause| format!("{} {}", counts.of(cause), cause.word()));
///     parts.collect::<Vec<_>>().join(", ")
/// }
/// # let mut counts = RestartCounts::default();
/// # let causes = [RestartCause::Recycled, RestartCause::OutOfMemory, RestartCause::OutOfMemory];
/// # causes.into_iter().for_each(|cause| counts.note(cause));
/// assert_eq!(line(&counts), "2 oom, 1 recycled");
/// assert_eq!(counts.accidents(), 2);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestartCounts([u64; RestartCause::ALL.len()]);

impl RestartCounts {
    /// Counts one.
    pub fn note(&mut self, cause: RestartCause) {
        self.0[cause as usize] += 1;
    }

    /// Returns the number of those with this cause.
    #[must_use]
    pub fn of(&self, cause: RestartCause) -> u64 {
        self.0[cause as usize]
    }

    /// Returns the number of all that followed an accident: without those that were replaced.
    #[must_use]
    pub fn accidents(&self) -> u64 {
        let all: u64 = self.0.iter().sum();
        all - self.of(RestartCause::Recycled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intensity_restarts_within_the_period_are_allowed_and_one_more_is_not() {
        let mut window = Window::default();
        let period = Duration::from_secs(10);
        for n in 1..=10 {
            assert_eq!(
                window.note(Duration::from_millis(n), 10, period),
                Some(u32::try_from(n).unwrap())
            );
        }
        assert_eq!(window.note(Duration::from_millis(11), 10, period), None);
    }

    #[test]
    fn old_restarts_are_forgotten() {
        let mut window = Window::default();
        for second in 0..100 {
            let now = Duration::from_secs(second * 6);
            assert!(window.note(now, 2, Duration::from_secs(10)).is_some());
        }
    }

    #[test]
    fn no_restart_is_allowed_with_intensity_zero() {
        assert_eq!(
            Window::default().note(Duration::ZERO, 0, Duration::from_secs(1)),
            None
        );
    }

    #[test]
    fn a_replacement_is_no_accident() {
        let mut counts = RestartCounts::default();
        counts.note(RestartCause::Recycled);
        counts.note(RestartCause::of_death(&Cause::OutOfMemory));
        counts.note(RestartCause::of_death(&Cause::WorkerDied(Exit::Signaled(
            9,
        ))));
        counts.note(RestartCause::of_death(&Cause::WorkerDied(Exit::Exited(3))));
        counts.note(RestartCause::of_death(&Cause::TimedOut(Duration::ZERO)));
        counts.note(RestartCause::of_death(&Cause::MemoryLimit(1)));
        assert_eq!(counts.accidents(), 5);
        assert!(RestartCause::ALL.iter().all(|cause| counts.of(*cause) == 1));
    }
}
