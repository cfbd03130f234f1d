//! Waiting on a queue that has never had workers.
//!
//! Producers may come before workers, because another thread may start a supervisor, or get. So a
//! caller waits for that, unless its thread is the only one of this program: then no worker can
//! come, and the wait would last for ever. Threads of this crate that only keep time, write a journal
//! or serve the control API do not count. It does not know what the caller waits for.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::core::Core;
use super::{Broker, Deadline, committer, timer};
use crate::error::Kind;
use crate::sys::threads::CONTROL;

/// The threads that a queue without workers has.
const OWN_THREADS: [&str; 3] = [timer::THREAD, committer::THREAD, CONTROL];

/// The bytes of a thread's name that the kernel keeps.
const COMM_BYTES: usize = 15;

/// The time until the first recheck. Other threads end unannounced, so it looks again after twice
/// that.
const FIRST_RECHECK: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Recheck {
    pause: Duration,
}

impl Recheck {
    pub(super) fn begin() -> Self {
        Recheck {
            pause: FIRST_RECHECK,
        }
    }
}

impl Broker {
    /// Returns the time to sleep before the next recheck, of this time in all.
    ///
    /// # Errors
    /// This queue has never had workers, and none can come.
    pub(super) fn limit_of_wait(
        &self,
        core: &Core,
        deadline: Deadline,
        recheck: &mut Recheck,
    ) -> Result<Deadline, Kind> {
        let may_be_served = self.doors.load(Ordering::Relaxed) > 0 || self.has_inline();
        let is_served = core.dispatcher.was_ever_served() || may_be_served;
        if is_served || matches!(deadline, Deadline::None) {
            return Ok(deadline);
        }
        // The journal's thread comes to its end without any worker.
        if core.dispatcher.is_written() && is_only_thread() {
            let unfinished = core.dispatcher.unfinished();
            return Err(Kind::NeverServed { unfinished });
        }
        let recheck_at = Instant::now() + recheck.pause;
        recheck.pause = (recheck.pause * 2).min(LAST_PAUSE);
        Ok(Deadline::Until(match deadline {
            Deadline::Until(deadline) => deadline.min(recheck_at),
            _ => recheck_at,
        }))
    }
}

/// Returns `true` if this program has no other thread; `false` where that cannot be known.
fn is_only_thread() -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return false;
    };
    let own = rustix::thread::gettid().as_raw_pid().to_string();
    let mut others = threads.filter(|thread| {
        let thread = thread.as_ref();
        thread.map_or(true, |thread| thread.file_name() != own.as_str())
    });
    others.all(|thread| {
        let name = thread.and_then(|thread| fs::read_to_string(thread.path().join("comm")));
        name.is_ok_and(|name| {
            let shown = |thread: &str| thread[..thread.len().min(COMM_BYTES)] == *name.trim_end();
            OWN_THREADS.into_iter().any(shown)
        })
    })
}
