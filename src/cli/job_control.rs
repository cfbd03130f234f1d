//! Passes Ctrl-Z and `fg` on to worker processes, because these have no terminal. It is the same where
//! the terminal stops a run in the background that reads from it or may not write to it.
//!
//! The kernel decides whether this process stops at all: PID 1 does not, nor does a process that no
//! shell controls. The workers go on as soon as this process does.

use std::fs::File;
use std::sync::Weak;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use rustix::process::getpgrp;
use rustix::termios::tcgetpgrp;

use crate::Supervisor;

/// Stops this process and its workers as without a handler, until it goes on.
pub(super) fn stand_still<T, R>(signal: Signal, pool: &Weak<Supervisor<T, R>>) {
    let pool = pool.upgrade();
    if let Some(pool) = &pool {
        pool.suspend();
    }
    stop_as_asked(signal);
    if let Some(pool) = &pool {
        pool.resume();
    }
}

/// Stops this process as without a handler. Returns when it goes on, or at once if it cannot stop.
fn stop_as_asked(signal: Signal) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no handler.
    let Ok(handler) = (unsafe { sigaction(signal, &default) }) else {
        return;
    };
    let _ = raise(signal);
    // SAFETY: this handler was installed before.
    let _ = unsafe { sigaction(signal, &handler) };
}

/// Returns `true` if this job is in the background of a terminal. A signal by which the terminal has
/// stopped it may be heard only when it is in the foreground again.
pub(super) fn is_in_background() -> bool {
    let Ok(terminal) = File::open("/dev/tty") else {
        return false;
    };
    tcgetpgrp(&terminal).is_ok_and(|group| group != getpgrp())
}
