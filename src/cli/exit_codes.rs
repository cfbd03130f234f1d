//! How the program ends: the exit codes, why a run ends other than by its work, and what is to be left
//! clean behind it. What a run is, this does not know.

use std::fmt;
use std::io;
use std::process;

use super::{scratch, screen};
use crate::error::Error;

/// Exit codes; 128 and a signal's number when a signal stopped the run.
pub(super) mod code {
    pub(in crate::cli) const DONE: u8 = 0;
    pub(in crate::cli) const DEAD_LETTERS: u8 = 1;
    pub(in crate::cli) const USAGE: u8 = 2;
    pub(in crate::cli) const NO_WORKERS_LEFT: u8 = 3;
    pub(in crate::cli) const INTERNAL: u8 = 70;
    /// As a shell reports a program that SIGPIPE ended.
    pub(in crate::cli) const CLOSED_STDOUT: u8 = 141;

    /// After this signal.
    pub(in crate::cli) fn of_signal(signal: i32) -> u8 {
        128 + u8::try_from(signal).unwrap_or(0)
    }
}

/// Why a run ended other than by its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// The user asked for something that cannot be.
    Usage(String),
    /// All workers are gone for good.
    NoWorkersLeft(String),
    /// Anything else is our bug.
    Internal(String),
}

impl Failure {
    pub(super) fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => code::USAGE,
            Failure::NoWorkersLeft(_) => code::NO_WORKERS_LEFT,
            Failure::Internal(_) => code::INTERNAL,
        }
    }

    /// A thread of the run's own cannot begin.
    pub(super) fn of_thread(error: io::Error) -> Self {
        Failure::Internal(format!("cannot start a thread: {error}"))
    }

    /// Stdout takes no more.
    pub(super) fn of_stdout(error: &io::Error) -> Self {
        Failure::Usage(format!("cannot write to stdout: {error}"))
    }
}

/// What follows from writing to stdout. That nobody reads to the end is no error.
pub(super) fn written(to_stdout: io::Result<()>) -> Result<(), Failure> {
    match to_stdout {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::of_stdout(&error)),
        _ => Ok(()),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(why) | Failure::NoWorkersLeft(why) | Failure::Internal(why)) = self;
        f.write_str(why)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // The contract has no code of its own for a journal or a Redis that fails, or for too little memory.
        let is_of_store = error.is_journal() || error.is_shared();
        if error.is_setup() || is_of_store || error.is_no_shared_memory() {
            Failure::Usage(error.to_string())
        } else if error.is_no_workers_left() {
            Failure::NoWorkersLeft(error.to_string())
        } else {
            Failure::Internal(error.to_string())
        }
    }
}

/// Leaves neither files of its own behind nor bars on the terminal.
pub(super) fn leave_clean() {
    scratch::remove();
    screen::close_in_time();
}

/// Ends the process from any of its threads. Workers die with us: the kernel tells them.
#[allow(clippy::exit, reason = "the command line ends the process")]
pub(super) fn end(code: u8) -> ! {
    leave_clean();
    process::exit(code.into());
}

/// Whoever read our output has gone, which is no error; any other failure to write is one.
pub(super) fn end_without_stdout(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        end(code::CLOSED_STDOUT);
    }
    screen::complain(&format_args!("cannot write to stdout: {error}"));
    end(code::USAGE);
}
