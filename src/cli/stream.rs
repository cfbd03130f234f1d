//! A run whose queue is a stream, where others work too: whether what they left is whole, and how to go
//! away from it in time. What else a run is made of, this does not know.

use std::time::{Duration, Instant};

use super::exit_codes::Failure;
use super::stop::Stop;
use crate::queue::JoinableQueue;
use crate::sys::threads::spawn;

/// Whether the stream has all that was told to it.
pub(super) fn check_younger<T>(queue: &JoinableQueue<T>) -> Result<(), Failure> {
    match queue.is_older() {
        false => Ok(()),
        true => Err(Failure::Usage(format!(
            "{} has come back with an older state: some of what was put may be lost",
            queue.kind_of_server()
        ))),
    }
}

/// Whether no item of the stream is gone without an end.
pub(super) fn check_whole<T>(queue: &JoinableQueue<T>) -> Result<(), Failure> {
    match queue.gone() {
        0 => Ok(()),
        gone => Err(Failure::Usage(format!(
            "items that are gone from the stream without an end: {gone}"
        ))),
    }
}

/// Gives back to the stream what was not worked on, if that can be done in a moment.
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

/// Waits no longer for Redis when the time for stopping is over: not at all where it is known to be
/// away, and a moment where it may take what there is to be told only then.
pub(super) fn give_up_in_time<T: 'static>(queue: &JoinableQueue<T>, stop: &Stop, time: Duration) {
    let over = Instant::now() + time;
    let (queue, stop) = (queue.clone(), stop.clone());
    let watch = move || {
        let is_settled = stop.is_settled_by(over)
            || (!queue.lacks_stream() && stop.is_settled_by(over + TIME_TO_LEAVE));
        if !is_settled {
            queue.give_up(
                "it is not waited for any longer, because of the signal: what was done here and is not \
                 told there is done again by others when the lease is over",
            );
        }
    };
    // Where there is no thread for it, a second signal ends the run.
    let _ = spawn("give up", watch);
}

/// How long whoever was told to stop waits for Redis to take what it is told and given back, also
/// where the time for stopping is over.
const TIME_TO_LEAVE: Duration = Duration::from_secs(1);
