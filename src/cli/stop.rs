//! How a run is stopped from outside: the first signal ends it in order, the second at once.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Whether the run is to stop, and by which signal.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<(Mutex<Option<i32>>, Condvar)>);

impl Stop {
    /// Listens for signals in a thread of its own: `in_order` on the first, `at_once` on a second.
    pub(super) fn listen(
        &self,
        in_order: impl FnOnce() + Send + 'static,
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
                if orderly.spawn(in_order).is_err() {
                    return at_once(signal);
                }
            }
            if let Some(signal) = signals.next() {
                at_once(signal);
            }
        };
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(listen)
            .map(drop)
    }

    fn request(&self, signal: i32) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(signal);
        self.0.1.notify_all();
    }

    /// The signal that stopped the run, if one did.
    pub(super) fn signal(&self) -> Option<i32> {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps, unless the run is stopped. Whether it was not.
    pub(super) fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut signal = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if signal.is_some() || left.is_zero() {
                return signal.is_none();
            }
            let woken = self.0.1.wait_timeout(signal, left);
            signal = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
