//! A run that cannot go on with its items, because one is wrong or they cannot be read. It says so at once,
//! rather than when those before are done, which may take hours.

use super::exit_codes::RunError;
use super::screen;
use crate::JoinableQueue;

/// The reason for which items ended before their source.
pub(super) enum NoMoreItems {
    /// It was told; the run ends with this code.
    Told(u8),
    /// It is a failure of the queue or its workers, which is told at the end, once.
    Untold(RunError),
}

impl NoMoreItems {
    /// Tells it, unless the queue has failed.
    pub(super) fn tell<T>(why: RunError, queue: &JoinableQueue<T>) -> Self {
        if queue.failure().is_some() || !matches!(why, RunError::Usage(_)) {
            return NoMoreItems::Untold(why);
        }
        screen::complain(&format_args!("{why}; what was put before is worked on"));
        NoMoreItems::Told(why.code())
    }

    /// Returns the exit code of the run, or what is still to be told.
    pub(super) fn code(self) -> Result<u8, RunError> {
        match self {
            NoMoreItems::Told(code) => Ok(code),
            NoMoreItems::Untold(why) => Err(why),
        }
    }
}
