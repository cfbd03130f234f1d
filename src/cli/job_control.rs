//! Passes Ctrl-Z and `fg` on to worker processes, because these have no terminal.
//!
//! The kernel decides whether this process stops at all: PID 1 does not, nor does a process that no
//! shell controls. The workers go on as soon as this process does.

use std::io;
use std::sync::{Arc, Weak};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use signal_hook::iterator::Signals;

use crate::Supervisor;
use crate::sys::signals;
use crate::sys::threads::spawn;

/// The terminal's signals, caught from now on and waiting to be passed on.
pub(super) struct JobControl(Option<Signals>);

impl JobControl {
    /// Catches the signals. Call it before there are workers: an earlier one stops this process
    /// alone.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub(super) fn hear() -> io::Result<Self> {
        let asked = Signal::SIGTSTP as i32;
        let is_heard = !signals::inherited().has(asked);
        let signals = is_heard.then(|| Signals::new([asked])).transpose()?;
        Ok(JobControl(signals))
    }

    /// Passes the signals on, in a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn pass_on<T: 'static, R: 'static>(
        self,
        pool: &Arc<Supervisor<T, R>>,
    ) -> io::Result<()> {
        let Some(mut signals) = self.0 else {
            return Ok(());
        };
        // The thread must not keep the pool alive.
        let pool = Arc::downgrade(pool);
        let listen = move || {
            let _ = SigSet::from_iter([Signal::SIGTSTP]).thread_unblock();
            for _ in signals.forever() {
                stand_still(&pool);
            }
        };
        spawn("job control", listen)
    }
}

fn stand_still<T, R>(pool: &Weak<Supervisor<T, R>>) {
    let pool = pool.upgrade();
    if let Some(pool) = &pool {
        pool.suspend();
    }
    stop_as_asked();
    if let Some(pool) = &pool {
        pool.resume();
    }
}

/// Stops this process as without a handler. Returns when it goes on, or at once if it cannot stop.
fn stop_as_asked() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no handler.
    let Ok(handler) = (unsafe { sigaction(Signal::SIGTSTP, &default) }) else {
        return;
    };
    let _ = raise(Signal::SIGTSTP);
    // SAFETY: this handler was installed before.
    let _ = unsafe { sigaction(Signal::SIGTSTP, &handler) };
}
