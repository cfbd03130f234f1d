//! Ctrl-Z and `fg`, passed on to worker processes: they have no terminal, so nobody else tells them.
//!
//! Whether this process stops at all is the kernel's to decide: PID 1 does not, nor does one that no
//! shell looks after. The workers go on as soon as it does.

use std::io;
use std::sync::{Arc, Weak};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use signal_hook::iterator::Signals;

use crate::supervision::Supervisor;
use crate::sys::signals;
use crate::sys::threads::spawn;

/// What the terminal says from now on is heard, and waits to be passed on.
pub(super) struct JobControl(Option<Signals>);

impl JobControl {
    /// To be called before there are workers: what is said earlier stops this process alone.
    ///
    /// # Errors
    /// There can be no handler.
    pub(super) fn hear() -> io::Result<Self> {
        let asked = Signal::SIGTSTP as i32;
        let is_heard = !signals::inherited().has(asked);
        let signals = is_heard.then(|| Signals::new([asked])).transpose()?;
        Ok(JobControl(signals))
    }

    /// Passes it on, in a thread of its own.
    ///
    /// # Errors
    /// There can be no thread.
    pub(super) fn pass_on<T: 'static>(self, pool: &Arc<Supervisor<T, ()>>) -> io::Result<()> {
        let Some(mut signals) = self.0 else {
            return Ok(());
        };
        // The pool is not to live for this.
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

fn stand_still<T>(pool: &Weak<Supervisor<T, ()>>) {
    let pool = pool.upgrade();
    if let Some(pool) = &pool {
        pool.suspend();
    }
    stop_as_asked();
    if let Some(pool) = &pool {
        pool.resume();
    }
}

/// Stops this process as it would have been without a handler. Returns when it goes on, or at once if
/// it is not to be stopped.
fn stop_as_asked() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action is no handler at all.
    let Ok(handler) = (unsafe { sigaction(Signal::SIGTSTP, &default) }) else {
        return;
    };
    let _ = raise(Signal::SIGTSTP);
    // SAFETY: it was there before.
    let _ = unsafe { sigaction(Signal::SIGTSTP, &handler) };
}
