//! Checks for a run on a stream that others work on, too, and the ways to leave it in time. It does
//! not know the rest of the run.

use std::time::{Duration, Instant};

use super::exit_codes::RunError;
use super::stop::{Stop, StopCause};
use crate::JoinableQueue;
use crate::sys::threads::spawn;

/// Checks that the stream has not come back with an older state.
pub(super) fn check_younger<T>(queue: &JoinableQueue<T>) -> Result<(), RunError> {
    match queue.stream_news().is_older {
        false => Ok(()),
        true => Err(RunError::Usage(format!(
            "{} has come back with an older state: some of what was put may be lost",
            queue.kind_of_server()
        ))),
    }
}

/// Checks that no item is gone from the stream without an end.
pub(super) fn check_whole<T>(queue: &JoinableQueue<T>) -> Result<(), RunError> {
    match queue.stream_news().gone {
        0 => Ok(()),
        gone => Err(RunError::Usage(format!(
            "items that are gone from the stream without an end: {gone}"
        ))),
    }
}

/// Gives the items that were not worked on back to the stream, if that can be done in a moment.
pub(super) fn leave_in_time<T: 'static>(queue: &JoinableQueue<T>) {
    let (leaving, left) = crossbeam_channel::bounded::<()>(0);
    let queue = queue.clone();
    let leave = move || {
        queue.quit();
        queue.leave();
        drop(leaving);
    };
    if spawn("leave", leave).is_ok() {
        // Disconnected when it is done.
        let _ = left.recv_timeout(TIME_TO_LEAVE);
    }
}

/// Waits for Redis no longer than this time after an order to stop: at once if Redis is known to be away,
/// and a moment later if it may still accept what is left to be told.
pub(super) fn give_up_in_time<T: 'static>(
    queue: &JoinableQueue<T>,
    (stop, cause): (&Stop, StopCause),
    time: Duration,
) {
    let cause = match cause {
        StopCause::Signal(_) => "the signal",
        StopCause::Request => "the order to stop",
    };
    let over = Instant::now() + time;
    let (queue, stop) = (queue.clone(), stop.clone());
    let watch = move || {
        let is_settled = stop.is_settled_by(over)
            || (!queue.stream_news().is_lacking && stop.is_settled_by(over + TIME_TO_LEAVE));
        if !is_settled {
            queue.give_up(&format!(
                "it is not waited for any longer, because of {cause}: what was done here and is not told \
                 there is done again by others when the lease is over"
            ));
        }
    };
    // Without the thread, a second signal ends the run.
    let _ = spawn("give up", watch);
}

/// The time that Redis gets to accept the last messages and returned items of a stopped run, even
/// after the time for stopping is over.
const TIME_TO_LEAVE: Duration = Duration::from_secs(1);
