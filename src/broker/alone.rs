//! Waiting on a queue that nobody has ever worked on.
//!
//! Producers may come before workers: another thread may start a supervisor, or get. So it is waited
//! for that, unless the thread that waits is the only one of this program: then nothing can come, and
//! waiting would last for ever. Threads of this crate that only keep time or write a journal do not
//! count. What is waited for is not known here.

use std::fs;
use std::time::{Duration, Instant};

use super::core::Core;
use super::{Broker, Deadline};
use crate::error::Kind;

/// Threads of a queue without workers, as the kernel cuts their names off.
const OWN_THREADS: [&str; 2] = ["dishrack-timer", "dishrack-journa"];

/// Other threads end without a word, so it is looked again after a while, and then after twice that.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(3600);

/// One caller's wait.
#[derive(Debug)]
pub(super) struct Vigil {
    pause: Duration,
}

impl Vigil {
    pub(super) fn begin() -> Self {
        Vigil { pause: FIRST_LOOK }
    }
}

impl Broker {
    /// How long to sleep at a time, of this time in all.
    ///
    /// # Errors
    /// Nobody has ever worked on this queue, and nobody can come who would.
    pub(super) fn hope(
        &self,
        core: &Core,
        deadline: Deadline,
        vigil: &mut Vigil,
    ) -> Result<Deadline, Kind> {
        let is_served = core.dispatcher.was_ever_served() || self.has_inline();
        if is_served || matches!(deadline, Deadline::None) {
            return Ok(deadline);
        }
        if is_only_thread() {
            let unfinished = core.dispatcher.unfinished();
            return Err(Kind::NeverServed { unfinished });
        }
        let look = Instant::now() + vigil.pause;
        vigil.pause = (vigil.pause * 2).min(LAST_PAUSE);
        Ok(Deadline::Until(match deadline {
            Deadline::Until(deadline) => deadline.min(look),
            _ => look,
        }))
    }
}

/// Whether no other thread of this program is there. Where that cannot be known, some may be.
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
        name.is_ok_and(|name| OWN_THREADS.contains(&name.trim_end()))
    })
}
