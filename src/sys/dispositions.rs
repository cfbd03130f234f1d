//! The actions on signals that a program of somebody else starts with: what this process was
//! started with. `signals` knows what that was.

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::SigSet;

use super::signals::{NUMBER_MAX, Signals, bit, inherited, kernels_handler_of, set_in_kernel};

/// The changes to the actions on signals in a process that executes a program of somebody else, so
/// that each is again what it was when this process was started. The exceptions are SIGPIPE, which
/// Rust ignores, and SIGCHLD, which a shell that ignores it passes on: programs expect neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dispositions {
    to_default: Signals,
    to_ignore: Signals,
}

impl Dispositions {
    /// Finds the changes that the actions of this process make necessary. Each signal is asked for,
    /// so call it once rather than for each program.
    pub(crate) fn of_commands() -> Self {
        let given = inherited();
        let (mut to_default, mut to_ignore) = (Signals(0), Signals(0));
        for number in 1..=NUMBER_MAX {
            let is_ours = matches!(number, libc::SIGPIPE | libc::SIGCHLD);
            let (wanted, all) = match given.has(number) && !is_ours {
                true => (libc::SIG_IGN, &mut to_ignore),
                false => (libc::SIG_DFL, &mut to_default),
            };
            if kernels_handler_of(number).is_ok_and(|found| found != wanted) {
                all.0 |= bit(number);
            }
        }
        Dispositions {
            to_default,
            to_ignore,
        }
    }

    /// Does it, and then blocks no signal. In a process that may share memory with the one that it
    /// is made by; see [`reset_for_exec`](super::signals::reset_for_exec).
    ///
    /// # Errors
    /// Only for an invalid argument.
    pub(crate) fn set_for_exec(self) -> Result<(), Errno> {
        for number in 1..=NUMBER_MAX {
            if self.to_default.has(number) {
                set_in_kernel(number, libc::SIG_DFL)?;
            } else if self.to_ignore.has(number) {
                set_in_kernel(number, libc::SIG_IGN)?;
            }
        }
        SigSet::empty().thread_set_mask()
    }
}
