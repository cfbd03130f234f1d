//! How a run is stopped from outside: the first signal ends it in order, the second at once.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Whether the run is to stop, and by which signal.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    signal: Option<i32>,
    /// Why there are no workers left.
    loss: Option<String>,
}

impl Stop {
    /// Listens for signals in a thread of its own: `in_order` on the first, `at_once` on a second.
    pub(super) fn listen(
        &self,
        in_order: impl FnOnce(i32) + Send + 'static,
        at_once: impl FnOnce(i32) + Send + 'static,
    ) -> io::Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let stop = self.clone();
        let listen = move || {
            let mut signals = signals.forever();
            if let Some(signal) = signals.next() {
                stop.request(signal);
                // It may take as long as the grace, while the next signal is listened for.
                let orderly = std::thread::Builder::new().name("stop".into());
                if orderly.spawn(move || in_order(signal)).is_err() {
                    return at_once(signal);
                }
            }
            if let Some(signal) = signals.next() {
                stop.request(signal);
                at_once(signal);
            }
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(listen)
            .map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, signal: i32) {
        self.lock().signal = Some(signal);
        self.0.1.notify_all();
    }

    /// All workers are gone: there is no use in washing on.
    pub(super) fn give_up(&self, why: String) {
        self.lock().loss = Some(why);
        self.0.1.notify_all();
    }

    /// Why there are no workers left, if there are none.
    pub(super) fn loss(&self) -> Option<String> {
        self.lock().loss.clone()
    }

    /// The last signal that stopped the run, if one did.
    pub(super) fn signal(&self) -> Option<i32> {
        self.lock().signal
    }

    /// Sleeps, unless the run is stopped. Whether it was not.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let is_stopped = state.signal.is_some() || state.loss.is_some();
            if is_stopped || left.is_zero() {
                return !is_stopped;
            }
            let woken = self.0.1.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
