//! The monitor: the lock around the core, and the doorbells on which threads sleep while others have
//! it. It does not know what they wait for.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::core::Core;
use super::doorbells::Doorbells;
use crate::handler::attempt::message_of;
use crate::sys::clock::Deadline;

#[derive(Debug)]
pub(super) struct Monitor {
    core: Mutex<Core>,
    /// Those that the core rings, for threads that sleep on them.
    pub(super) doorbells: Arc<Doorbells>,
}

impl Monitor {
    pub(super) fn new(core: Core) -> Self {
        let doorbells = Arc::clone(&core.doorbells);
        let core = Mutex::new(core);
        Monitor { core, doorbells }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    /// Returns `true` if the lock is free within this time.
    pub(super) fn is_free_within(&self, time: Duration) -> bool {
        self.core.try_lock_for(time).is_some()
    }

    /// Takes the lock, runs `act`, and carries out what follows from it.
    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Core) -> R) -> R {
        with_guard(&mut self.lock(), act)
    }

    /// Takes the lock and runs `act` for one of the broker's own threads. Reports call the program's own code; a
    /// panic in it breaks the queue off while the lock is held, so that no caller takes the reported
    /// part for the whole.
    pub(super) fn with_or_break_off<R>(
        &self,
        act: impl FnOnce(&mut Core) -> R,
        break_off: impl FnOnce(&mut Core, String),
    ) -> R {
        let mut core = self.lock();
        match catch_unwind(AssertUnwindSafe(|| act(&mut core))) {
            Ok(result) => result,
            Err(panic) => {
                let why = format!("internal error: {}", message_of(&*panic));
                with_guard(&mut core, |core| break_off(core, why));
                drop(core);
                resume_unwind(panic)
            }
        }
    }
}

/// Runs `act` with the lock held, and carries out what follows from it.
pub(super) fn with_guard<R>(core: &mut Core, act: impl FnOnce(&mut Core) -> R) -> R {
    let result = act(core);
    core.pump();
    result
}

/// Sleeps until the doorbell rings or the time is over; the lock is free meanwhile.
pub(super) fn sleep<'a>(
    doorbell: &Condvar,
    mut core: MutexGuard<'a, Core>,
    deadline: Deadline,
) -> (MutexGuard<'a, Core>, bool) {
    match deadline {
        Deadline::None => (core, true),
        Deadline::Forever => {
            doorbell.wait(&mut core);
            (core, false)
        }
        Deadline::Until(deadline) => {
            let is_over = doorbell.wait_until(&mut core, deadline).timed_out();
            (core, is_over)
        }
    }
}
