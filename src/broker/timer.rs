//! Wakes the broker when the rest of an item is over. It does not know what is done then.
//!
//! The thread is started when the first item rests, and sleeps until then without ticking.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The name of the thread that keeps time.
pub(super) const THREAD: &str = "dishrack-timer";

#[derive(Debug, Default)]
struct Alarm {
    at: Option<Instant>,
    is_running: bool,
    is_over: bool,
}

/// Is called when the time has come. Returns `false` if there is nobody to wake any more.
type Wake = Arc<dyn Fn() -> bool + Send + Sync>;

pub(super) struct Timer {
    wake: Wake,
    shared: Arc<(Mutex<Alarm>, Condvar)>,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").finish_non_exhaustive()
    }
}

impl Timer {
    pub(super) fn new(wake: Wake) -> Self {
        Timer {
            wake,
            shared: Arc::default(),
        }
    }

    /// Lets the broker look again after `rest`, or earlier.
    pub(super) fn set(&self, rest: Duration) {
        let mut alarm = self.shared.0.lock();
        // A rest that is too long to compute never ends.
        let Some(at) = Instant::now().checked_add(rest) else {
            return;
        };
        if alarm.at.is_some_and(|earlier| earlier <= at) {
            return;
        }
        alarm.at = Some(at);
        if alarm.is_running {
            self.shared.1.notify_one();
            return;
        }
        self.run(&mut alarm);
        if !alarm.is_running {
            // Otherwise a next, later rest would count as covered.
            alarm.at = None;
        }
    }

    /// Starts the thread ahead of need: when the machine lacks threads, which is when rests are
    /// needed most, it can no longer be made.
    pub(super) fn start(&self) {
        let mut alarm = self.shared.0.lock();
        if !alarm.is_running {
            self.run(&mut alarm);
        }
    }

    /// Starts the thread. If that fails, items rest until the next call looks at the queue, and the
    /// next rest tries again.
    fn run(&self, alarm: &mut Alarm) {
        let (wake, shared) = (Arc::clone(&self.wake), Arc::clone(&self.shared));
        let thread = std::thread::Builder::new().name(THREAD.into());
        alarm.is_running = thread
            .spawn(move || {
                crate::sys::signals::block_all();
                run(&wake, &shared);
            })
            .is_ok();
    }
}

fn run(wake: &Wake, (alarm, changed): &(Mutex<Alarm>, Condvar)) {
    loop {
        let mut state = alarm.lock();
        loop {
            if state.is_over {
                return;
            }
            let left = state
                .at
                .map(|at| at.saturating_duration_since(Instant::now()));
            match left {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    changed.wait_for(&mut state, left);
                }
                None => changed.wait(&mut state),
            }
        }
        state.at = None;
        drop(state);
        if !wake() {
            return;
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut alarm = self.shared.0.lock();
        alarm.is_over = true;
        self.shared.1.notify_one();
    }
}
