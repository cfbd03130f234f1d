//! Ctrl-Z and `fg`, passed on to worker processes: they have no terminal, so nobody else tells them.
//!
//! Whether this process stops at all is the kernel's to decide: PID 1 does not, nor does one that no
//! shell looks after. The workers go on as soon as it does.

use std::io;
use std::sync::{Arc, Weak};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use signal_hook::iterator::Signals;

use crate::supervision::{Supervisor, signals};

/// Passes on what the terminal says from now on, in a thread of its own.
///
/// # Errors
/// There can be no thread, or no handler.
pub(super) fn pass_on<T: 'static>(crew: &Arc<Supervisor<T, ()>>) -> io::Result<()> {
    let asked = Signal::SIGTSTP;
    if signals::inherited().has(asked as i32) {
        return Ok(());
    }
    let mut signals = Signals::new([asked as i32])?;
    // The crew is not to live for this.
    let crew = Arc::downgrade(crew);
    let listen = move || {
        let _ = SigSet::from_iter([asked]).thread_unblock();
        for _ in signals.forever() {
            stand_still(&crew);
        }
    };
    let thread = std::thread::Builder::new().name("job control".into());
    thread.spawn(listen).map(drop)
}

fn stand_still<T>(crew: &Weak<Supervisor<T, ()>>) {
    let crew = crew.upgrade();
    if let Some(crew) = &crew {
        crew.suspend();
    }
    stop_as_asked();
    if let Some(crew) = &crew {
        crew.resume();
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
