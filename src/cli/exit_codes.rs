//! The end of the program: exit codes, failures that end a run, cleaning up. It does not know runs.

use std::any::Any;
use std::fmt;
use std::io;
use std::process;

use super::{scratch, screen, served};
use crate::Error;
use crate::error::contradiction;
use crate::sys::threads::in_words;

/// Exit codes. A run that a signal stopped has 128 and the signal's number.
pub(super) mod code {
    pub(in crate::cli) const DONE: u8 = 0;
    pub(in crate::cli) const DEAD_LETTERS: u8 = 1;
    pub(in crate::cli) const USAGE: u8 = 2;
    pub(in crate::cli) const NO_WORKERS_LEFT: u8 = 3;
    pub(in crate::cli) const INTERNAL: u8 = 70;
    /// The code by which a shell reports a program that SIGPIPE ended.
    pub(in crate::cli) const CLOSED_STDOUT: u8 = 141;

    /// Returns the code after this signal.
    pub(in crate::cli) fn of_signal(signal: i32) -> u8 {
        128 + u8::try_from(signal).unwrap_or(0)
    }
}

/// The reason why a run ended other than by its work.
#[derive(Debug)]
pub(super) enum RunError {
    /// The user asked for something impossible.
    Usage(String),
    /// All workers are gone for good.
    NoWorkersLeft(String),
    /// Anything else, which is a bug of this program.
    Internal(String),
}

impl RunError {
    pub(super) fn code(&self) -> u8 {
        match self {
            RunError::Usage(_) => code::USAGE,
            RunError::NoWorkersLeft(_) => code::NO_WORKERS_LEFT,
            RunError::Internal(_) => code::INTERNAL,
        }
    }

    /// Describes something impossible that the user asked for, or what the machine or a store lacks for it.
    pub(super) fn usage(why: impl fmt::Display) -> Self {
        RunError::Usage(why.to_string())
    }

    /// Describes a thread of the run that could not begin, for which the machine lacks something.
    pub(super) fn of_thread(error: io::Error) -> Self {
        RunError::Usage(format!("cannot start a thread: {error}"))
    }

    /// Describes a panic in this thread.
    pub(super) fn of_panic(panic: &(dyn Any + Send)) -> Self {
        RunError::Internal(contradiction(&in_words(panic)))
    }

    /// Describes a failed write to stdout.
    pub(super) fn of_stdout(error: &io::Error) -> Self {
        RunError::Usage(format!("cannot write to stdout: {error}"))
    }
}

/// Judges the result of writing to stdout. A reader that went away is no error.
pub(super) fn written(to_stdout: io::Result<()>) -> Result<(), RunError> {
    match to_stdout {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(RunError::of_stdout(&error)),
        _ => Ok(()),
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (RunError::Usage(why) | RunError::NoWorkersLeft(why) | RunError::Internal(why)) = self;
        f.write_str(why)
    }
}

impl From<Error> for RunError {
    fn from(error: Error) -> Self {
        // No exit code is defined for a journal or a Redis that fails, or for too little memory.
        let is_of_store = error.is_journal() || error.is_shared();
        if error.is_setup() || is_of_store || error.is_no_shared_memory() {
            RunError::Usage(error.to_string())
        } else if error.is_no_workers_left() {
            RunError::NoWorkersLeft(error.to_string())
        } else {
            RunError::Internal(error.to_string())
        }
    }
}

/// Removes the control socket and the program's temporary files, and the bars from the terminal.
pub(super) fn leave_clean() {
    served::end();
    scratch::remove();
    screen::close_in_time();
}

/// Ends the process from any of its threads. The kernel ends the workers with it.
#[allow(clippy::exit, reason = "the command line ends the process")]
pub(super) fn end(code: u8) -> ! {
    leave_clean();
    process::exit(code.into());
}

/// Ends the process after a failed write to stdout, which is no error if the reader went away.
pub(super) fn end_without_stdout(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        end(code::CLOSED_STDOUT);
    }
    screen::complain(&format_args!("cannot write to stdout: {error}"));
    end(code::USAGE);
}
