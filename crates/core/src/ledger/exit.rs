//! The ends of a process: plain data with words for people. Signals and exit codes are kept apart,
//! never folded into one number.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

pub(super) const SIGHUP: i32 = 1;
pub(super) const SIGINT: i32 = 2;
pub(super) const SIGKILL: i32 = 9;
pub(super) const SIGTERM: i32 = 15;

/// Linux' standard signals, as most machines number them (signal(7): all but Alpha, MIPS, PA-RISC
/// and SPARC).
const SIGNALS: [(i32, &str); 31] = [
    (SIGHUP, "SIGHUP"),
    (SIGINT, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (SIGKILL, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (SIGTERM, "SIGTERM"),
    (16, "SIGSTKFLT"),
    (17, "SIGCHLD"),
    (18, "SIGCONT"),
    (19, "SIGSTOP"),
    (20, "SIGTSTP"),
    (21, "SIGTTIN"),
    (22, "SIGTTOU"),
    (23, "SIGURG"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (26, "SIGVTALRM"),
    (27, "SIGPROF"),
    (28, "SIGWINCH"),
    (29, "SIGIO"),
    (30, "SIGPWR"),
    (31, "SIGSYS"),
];

/// The end of a process. A kernel knows no other one, so it can be matched in full.
///
/// ```
/// # use dishrack_core::ledger as dishrack;
/// use dishrack::Exit;
///
/// /// Returns the exit code that a shell has for it.
/// fn code(exit: Exit) -> i32 {
///     match exit {
///         Exit::Exited(code) => code,
///         Exit::Signaled(signal) => 128 + signal,
///         Exit::Unknown => 1,
///     }
/// }
/// assert_eq!((code(Exit::Exited(3)), code(Exit::Signaled(9))), (3, 137));
/// assert_eq!(Exit::Signaled(9).to_string(), "killed by SIGKILL");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// It ended by itself with this exit code.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
    /// Its end is unknown: other code in this program waited for it, or it ignores `SIGCHLD`.
    Unknown,
}

impl Exit {
    /// Returns `true` if it ended by itself with code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Exit::Exited(0)
    }

    /// Returns the signal's name, such as `SIGKILL`, if a signal killed it.
    #[must_use]
    pub fn signal_name(self) -> Option<String> {
        match self {
            Exit::Signaled(number) => {
                let name = SIGNALS.iter().find(|(known, _)| *known == number);
                Some(name.map_or_else(
                    || format!("signal {number}"),
                    |(_, name)| (*name).to_owned(),
                ))
            }
            Exit::Exited(_) | Exit::Unknown => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Exited(code) => write!(f, "exited with code {code}"),
            Exit::Signaled(_) => {
                write!(f, "killed by {}", self.signal_name().unwrap_or_default())
            }
            Exit::Unknown => f.write_str("ended, its exit status was taken by somebody else"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn exits_are_told_in_words() {
        assert_eq!(Exit::Signaled(9).to_string(), "killed by SIGKILL");
        assert_eq!(Exit::Exited(44).to_string(), "exited with code 44");
        assert_eq!(Exit::Signaled(40).signal_name().unwrap(), "signal 40");
        assert!(Exit::Exited(0).is_success() && !Exit::Exited(1).is_success());
    }
}
