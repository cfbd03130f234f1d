//! The command line: arguments, then a validated configuration, then a run.
//!
//! Only this module and `bin` print and end the process. Everything that is not the job's own
//! output goes to stderr.

mod args;
mod compare;
mod config;
mod dead;
mod dishes;
mod goal;
mod input;
mod jobs;
mod letter;
mod manual;
mod obituaries;
mod output;
mod pictures;
mod printer;
mod progress;
mod run;
mod salvage;
mod screen;
mod stop;
mod ticks;
mod view;
mod work;

use std::ffi::OsString;
use std::fmt;
use std::process::{self, ExitCode};

use clap::Parser;

use crate::error::Error;
use crate::kitchen;
use crate::worker::{self, title};

/// Exit codes; 128 and a signal's number when a signal stopped the run.
mod code {
    pub(super) const DONE: u8 = 0;
    pub(super) const DEAD_LETTERS: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const NO_WORKERS_LEFT: u8 = 3;
    pub(super) const INTERNAL: u8 = 70;
    /// As a shell reports a program that SIGPIPE ended.
    pub(super) const CLOSED_STDOUT: u8 = 141;
}

/// Why a run ended other than by its work.
#[derive(Debug)]
enum Failure {
    /// The user asked for something that cannot be.
    Usage(String),
    /// All workers are gone for good.
    NoWorkersLeft(String),
    /// Anything else is our bug.
    Internal(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => code::USAGE,
            Failure::NoWorkersLeft(_) => code::NO_WORKERS_LEFT,
            Failure::Internal(_) => code::INTERNAL,
        }
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
        // The contract has no code of its own for a journal that fails, or for too little memory.
        if error.is_setup() || error.is_journal() || error.is_no_shared_memory() {
            Failure::Usage(error.to_string())
        } else if error.is_no_workers_left() {
            Failure::NoWorkersLeft(error.to_string())
        } else {
            Failure::Internal(error.to_string())
        }
    }
}

/// Serves the workers of the command line; the first call of `main`.
pub fn serve() {
    worker::serve(|roles| {
        kitchen::serve(roles);
        crate::jobs::serve(roles);
    });
}

/// Does the work that the arguments ask for. The exit code.
fn work_on(args: args::Args) -> Result<u8, Failure> {
    let (config, work) = config::Config::validate(args).map_err(Failure::Usage)?;
    match work {
        config::Work::Dishes(dishes) => {
            let dishes = dishes::Dishes::new(dishes, &config);
            run::run(config, dishes)
        }
        config::Work::Jobs(jobs) if jobs.is_dry_run => jobs::dry_run(&config, &jobs),
        config::Work::Jobs(jobs) => {
            let jobs = jobs::Jobs::new(*jobs, config.workers, config.shutdown);
            run::run(config, jobs)
        }
    }
}

/// What somebody who is used to xargs forgets.
fn tip(error: &clap::Error) -> Option<String> {
    let is_unknown = error.kind() == clap::error::ErrorKind::UnknownArgument;
    let word = match error.get(clap::error::ContextKind::InvalidArg) {
        Some(clap::error::ContextValue::String(word)) if is_unknown => word,
        _ => return None,
    };
    let is_option = word.starts_with('-');
    (!is_option).then(|| {
        format!("\na COMMAND, and items after :::, follow --, as in: supervisor -- {word}")
    })
}

/// Ends the process from any of its threads. Workers die with us: the kernel tells them.
#[allow(clippy::exit, reason = "the command line ends the process")]
fn end(code: u8) -> ! {
    jobs::remove_scratch();
    screen::close_in_time();
    process::exit(code.into());
}

/// Runs the command line. Call it in `main`, after [`serve`] and
/// before anything else: it takes over the memory of arguments and environment for the title.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    title::claim("supervisor", true);
    let has_end_of_options = arguments.iter().any(|word| word == "--");
    let args = match args::Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() {
                code::USAGE
            } else {
                code::DONE
            };
            // Where not even this can be printed, the code must do.
            let _ = error.print();
            if let Some(tip) = tip(&error) {
                screen::say(&tip);
            }
            return code.into();
        }
    };
    let outcome = match &args.command {
        Some(args::Command::Dead(command)) => dead::run(command),
        Some(args::Command::Salvage(command)) => salvage::run(command),
        Some(args::Command::Manual) => manual::run(),
        Some(args::Command::Completions(command)) => manual::complete(command),
        Some(args::Command::Compare(command)) => compare::run(command),
        // An empty variable is no reason to wash dishes.
        None if has_end_of_options && !args.jobs.are_meant() => {
            Err(Failure::Usage("--: there is no COMMAND after it".into()))
        }
        None => work_on(args),
    };
    jobs::remove_scratch();
    // Whatever became of it, the terminal is left clean.
    screen::close_in_time();
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => {
            printer::complain(&failure);
            failure.code().into()
        }
    }
}
