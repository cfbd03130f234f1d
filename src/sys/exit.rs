//! Ends a worker process. This is the only place outside the command line that ends a process.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, getpid};

use super::stderr;

/// A chapter's loop panicked; the code of Rust's own `main`.
pub(crate) const PANICKED: i32 = 101;
/// The supervisor could not be reached or said something unexpected. `EX_SOFTWARE` of sysexits.
pub(crate) const BOOT_FAILED: i32 = 70;

/// Ends this process.
#[allow(clippy::exit, reason = "serve never returns in a worker process")]
pub(crate) fn with(code: i32) -> ! {
    std::process::exit(code)
}

/// Ends this process and all that it has started, at once, because the supervisor is gone.
///
/// A worker leads its own process group, so its children end with it.
#[allow(clippy::exit, reason = "nobody is left to return to")]
pub(crate) fn as_orphan() -> ! {
    if getpgrp() == getpid() {
        let _ = kill(Pid::from_raw(0), Signal::SIGKILL);
    }
    std::process::exit(BOOT_FAILED)
}

/// Ends this process alone, because it is a copy that a handler has forked and let return. It
/// leaves as they are the things that it shares with the original, which goes on working.
pub(crate) fn as_copy() -> ! {
    // No other thread of this process writes, whatever lock of stderr was held when it was copied.
    stderr::write_all(
        b"supervisor: a process that was forked while an item was worked on came back from there: it ends \
          here, as the item is its parent's; call _exit or exec in it\n",
    );
    // SAFETY: `_exit` is safe anywhere. The original runs the functions registered for `exit`.
    unsafe { nix::libc::_exit(BOOT_FAILED) }
}

/// Ends the process as [`as_orphan`] does, by calls that a signal handler may make.
pub(crate) fn as_orphan_in_handler() {
    if getpgrp() == getpid() {
        let _ = kill(Pid::from_raw(0), Signal::SIGKILL);
    }
    // SAFETY: `_exit` is safe anywhere.
    unsafe { nix::libc::_exit(BOOT_FAILED) }
}
