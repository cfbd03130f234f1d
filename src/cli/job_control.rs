//! Passes Ctrl-Z and `fg` on to worker processes, because these have no terminal. It is the same where
//! the terminal stops a run in the background that reads from it or may not write to it.
//!
//! The kernel decides whether this process stops at all: PID 1 does not, nor does a process that no
//! shell controls. The workers go on as soon as this process does.

use std::fs::File;
use std::sync::Weak;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcsetpgrp};

use crate::Supervisor;

/// Stops this process and its workers as SIGTSTP does without a handler, until it goes on.
pub(super) fn stand_still<T, R>(pool: &Weak<Supervisor<T, R>>) {
    with_workers_suspended(pool, || {
        let asked = Signal::SIGTSTP;
        without_handlers(&[asked], || {
            let _ = raise(asked);
        });
    });
}

/// Does the same as the terminal wants it of a job in the background, until that is in the foreground.
/// What it has wanted before may be heard only when that is so already.
pub(super) fn leave_terminal<T, R>(pool: &Weak<Supervisor<T, R>>) {
    let Ok(terminal) = File::open("/dev/tty") else {
        return;
    };
    if tcgetpgrp(&terminal).is_ok_and(|group| group != getpgrp()) {
        with_workers_suspended(pool, || {
            without_handlers(&[Signal::SIGTTIN, Signal::SIGTTOU], || {
                // The kernel stops a job in the background here, and does nothing for one in the
                // foreground. A signal of our own could come when it was brought there.
                let _ = tcsetpgrp(&terminal, getpgrp());
            });
        });
    }
}

fn with_workers_suspended<T, R>(pool: &Weak<Supervisor<T, R>>, stop: impl FnOnce()) {
    let pool = pool.upgrade();
    if let Some(pool) = &pool {
        pool.suspend();
    }
    stop();
    if let Some(pool) = &pool {
        pool.resume();
    }
}

/// Stops this process with the default actions on these signals. Returns when it goes on, or at once
/// if it cannot be stopped.
fn without_handlers(signals: &[Signal], stop: impl FnOnce()) {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    let mut before = Vec::new();
    for signal in signals {
        // SAFETY: the default action runs no handler.
        if let Ok(handler) = unsafe { sigaction(*signal, &default) } {
            before.push((*signal, handler));
        }
    }
    stop();
    for (signal, handler) in before {
        // SAFETY: this handler was installed before.
        let _ = unsafe { sigaction(signal, &handler) };
    }
}
