//! The monitor: the lock around the core, and the doorbells on which threads sleep while others have
//! it. It does not know what they wait for.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::core::Core;
use super::doorbells::Doorbells;
use crate::fail;
use crate::sys::clock::Deadline;
use crate::sys::threads;

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
        self.or_end(|core| with_guard(core, act))
    }

    /// Takes the lock and runs `act` for one of the queue's own threads.
    pub(super) fn with_or_end<R>(&self, act: impl FnOnce(&mut Core) -> R) -> R {
        self.or_end(|core| {
            fail::thread_begins();
            act(core)
        })
    }

    /// Takes the lock and runs `act`. A panic in it, whoever's thread this is, has left by halves what it was
    /// at. So it ends the queue while the lock is held, so that no caller takes the reported part for the
    /// whole, and then goes on.
    fn or_end<R>(&self, act: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.lock();
        let act = || {
            let result = act(&mut core);
            core.heed_observers();
            result
        };
        catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
            core.end_by_panic(threads::in_words(&*panic));
            drop(core);
            resume_unwind(panic)
        })
    }
}

/// Ends the queue after a panic in a thread that it cannot do without. It does not keep the queue.
#[derive(Debug, Clone)]
pub(crate) struct ThreadGuard(Weak<Monitor>);

impl ThreadGuard {
    pub(super) fn of(monitor: Weak<Monitor>) -> Self {
        ThreadGuard(monitor)
    }

    /// Does the work of the thread.
    pub(crate) fn run(&self, work: impl FnOnce()) {
        threads::catch(work, |why| self.end(why));
    }

    /// Ends the queue, because of a panic.
    pub(crate) fn end(&self, why: String) {
        if let Some(monitor) = self.0.upgrade() {
            monitor.lock().end_by_panic(why);
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
