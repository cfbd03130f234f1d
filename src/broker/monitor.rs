//! The monitor: the lock around the core, and the doorbells on which threads sleep while others have
//! it. It does not know what they wait for.

use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::core::Core;
use super::doorbells::Doorbells;
use crate::fail;
use crate::link::Sleeper;
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

    pub(super) fn lock(&self) -> CoreGuard<'_> {
        CoreGuard {
            core: self.core.lock(),
            woken_late: LateSleepers(Vec::new()),
        }
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

/// The lock, which is held. Who releases it wakes the workers for which there is something then: a worker that is
/// woken before is often put on the processor of the one that wakes it, takes that from it, and all others wait
/// for the lock meanwhile.
#[derive(Debug)]
pub(super) struct CoreGuard<'a> {
    core: MutexGuard<'a, Core>,
    // After the lock, as fields are dropped in their order.
    woken_late: LateSleepers,
}

#[derive(Debug)]
struct LateSleepers(Vec<Arc<dyn Sleeper>>);

impl Drop for LateSleepers {
    fn drop(&mut self) {
        self.0.iter().for_each(|sleeper| sleeper.wake());
    }
}

impl Drop for CoreGuard<'_> {
    fn drop(&mut self) {
        self.woken_late.0 = mem::take(&mut self.core.sleepers);
    }
}

impl Deref for CoreGuard<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl DerefMut for CoreGuard<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
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
    mut core: CoreGuard<'a>,
    deadline: Deadline,
) -> (CoreGuard<'a>, bool) {
    // They may be those that ring it.
    for sleeper in core.sleepers.drain(..) {
        sleeper.wake();
    }
    match deadline {
        Deadline::None => (core, true),
        Deadline::Forever => {
            doorbell.wait(&mut core.core);
            (core, false)
        }
        Deadline::Until(deadline) => {
            let is_over = doorbell.wait_until(&mut core.core, deadline).timed_out();
            (core, is_over)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::super::Broker;
    use super::*;
    use dishrack_core::ledger::Options;

    /// Counts how often it is woken, and how often the lock was free then.
    #[derive(Debug)]
    struct Witness {
        monitor: Arc<Monitor>,
        woken: AtomicUsize,
        while_free: AtomicUsize,
    }

    impl Sleeper for Witness {
        fn wake(&self) {
            self.woken.fetch_add(1, Ordering::Relaxed);
            let is_free = self.monitor.is_free_within(Duration::ZERO);
            self.while_free
                .fetch_add(usize::from(is_free), Ordering::Relaxed);
        }
    }

    #[test]
    fn a_worker_is_woken_when_the_lock_is_free_or_before_the_caller_sleeps() {
        let monitor = Arc::clone(&Broker::new(Options::default()).monitor);
        let witness = Arc::new(Witness {
            monitor: Arc::clone(&monitor),
            woken: AtomicUsize::new(0),
            while_free: AtomicUsize::new(0),
        });
        let seen = || {
            let load = |count: &AtomicUsize| count.load(Ordering::Relaxed);
            (load(&witness.woken), load(&witness.while_free))
        };
        monitor.with(|core| {
            core.sleepers.push(Arc::clone(&witness) as Arc<dyn Sleeper>);
            core.pump();
            assert_eq!(seen(), (0, 0), "the lock is held");
        });
        assert_eq!(seen(), (1, 1));
        let mut core = monitor.lock();
        core.sleepers.push(Arc::clone(&witness) as Arc<dyn Sleeper>);
        let now = Deadline::Until(Instant::now());
        let (core, is_over) = sleep(&monitor.doorbells.items, core, now);
        assert_eq!(
            (is_over, seen()),
            (true, (2, 1)),
            "it may be what is slept for"
        );
        drop(core);
        assert_eq!(seen(), (2, 1), "each is woken once");
    }
}
