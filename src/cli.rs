//! The command line: arguments, then a validated configuration, then a run.
//!
//! Only this module and `bin` print and end the process. Everything that is not the job's own
//! output goes to stderr.

mod address;
mod advice;
mod args;
mod compare;
mod config;
mod dead;
mod dead_letter_log;
mod dishes;
mod earlier;
mod goal;
mod input;
mod job_control;
mod jobs;
mod join;
mod layout;
mod letter;
mod manual;
mod notices;
mod orphans;
mod output;
mod pictures;
mod printer;
mod progress;
mod put;
mod run;
mod salvage;
mod screen;
mod status;
mod stop;
mod stream;
mod ticks;
mod unwritten;
mod view;
mod work;

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::{self, ExitCode};

use nix::sys::signal::Signal;

use self::screen::Stream;
use crate::error::Error;
use crate::kitchen;
use crate::observe::text::harmless;
use crate::sys::{signals, title};
use crate::worker;

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

    /// Stdout takes no more.
    fn of_stdout(error: &io::Error) -> Self {
        Failure::Usage(format!("cannot write to stdout: {error}"))
    }
}

/// What follows from writing to stdout. That nobody reads to the end is no error.
fn written(to_stdout: io::Result<()>) -> Result<(), Failure> {
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

/// Serves the workers of the command line; the first call of `main`.
pub fn serve() {
    signals::inherited();
    signals::keep_exits();
    // A file that may not grow is told as an error of whoever writes it.
    signals::ignore(Signal::SIGXFSZ);
    worker::serve(|roles| {
        kitchen::serve(roles);
        crate::jobs::serve(roles);
    });
}

/// Does the work that the arguments ask for. The exit code.
fn work_on(args: args::Args) -> Result<u8, Failure> {
    if !args.jobs.are_meant() && args.items.input.is_none() {
        input::tell_if_unread();
    }
    run_with(config::Config::validate(args).map_err(Failure::Usage)?)
}

/// Works on what others put. The exit code.
fn work_for_others(args: args::WorkArgs) -> Result<u8, Failure> {
    run_with(config::Config::validate_work(args).map_err(Failure::Usage)?)
}

fn run_with((config, work): (config::Config, config::Work)) -> Result<u8, Failure> {
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

/// The exit code.
fn do_as_told(
    mut args: args::Args,
    is_consistent: Result<(), String>,
    has_end_of_options: bool,
) -> Result<u8, Failure> {
    let jobs = match &args.command {
        Some(args::Command::Work(work)) => Some(&work.jobs),
        Some(_) => None,
        None => Some(&args.jobs),
    };
    // An empty variable is no reason to wash dishes.
    if has_end_of_options && jobs.is_some_and(|jobs| !jobs.are_meant()) {
        return Err(Failure::Usage("--: there is no COMMAND after it".into()));
    }
    is_consistent.map_err(Failure::Usage)?;
    match args.command.take() {
        Some(args::Command::Put(command)) => put::run(&command),
        Some(args::Command::Work(command)) => work_for_others(*command),
        Some(args::Command::Join(command)) => join::run(&command),
        Some(args::Command::Status(command)) => status::run(&command),
        Some(args::Command::Dead(command)) => dead::run(&command),
        Some(args::Command::Salvage(command)) => salvage::run(&command),
        Some(args::Command::Manual(manual)) => manual::run(&manual),
        Some(args::Command::Completions(command)) => manual::complete(&command),
        Some(args::Command::Compare(command)) => compare::run(&command),
        None => work_on(args),
    }
}

/// What clap has to say. Where not even this can be printed, the code must do.
fn print_usage(error: &clap::Error) {
    let (stream, is_terminal) = match error.use_stderr() {
        true => (Stream::Err, io::stderr().is_terminal()),
        false => (Stream::Out, io::stdout().is_terminal()),
    };
    let text = error.to_string();
    let _ = match harmless(&text) {
        // In colours.
        Cow::Borrowed(_) if is_terminal => error.print(),
        // Arguments may be anybody's.
        text => { stream }.write_all(text.as_bytes()),
    };
}

/// Ends the process from any of its threads. Workers die with us: the kernel tells them.
#[allow(clippy::exit, reason = "the command line ends the process")]
fn end(code: u8) -> ! {
    jobs::remove_scratch();
    screen::close_in_time();
    process::exit(code.into());
}

/// The words of the command line, for `ps` and whoever looks for this process by them.
fn words_of(arguments: &[OsString]) -> String {
    let words = arguments
        .iter()
        .map(|word| without_password(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

/// A word without what may be a password in a URL, which is nobody's business.
fn without_password(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    // Passwords of Redis may have any characters; elsewhere an address ends where a path begins.
    let is_redis = scheme.contains("redis") || scheme.contains("valkey");
    let (address, path) = match rest.find('/') {
        Some(at) if !is_redis => rest.split_at(at),
        _ => (rest, ""),
    };
    let place = address.rsplit_once('@').map_or(address, |(_, place)| place);
    let place = match place.split_once('?') {
        Some((place, _)) if is_redis => place,
        _ => place,
    };
    format!("{scheme}://{place}{path}")
}

/// Runs the command line. Call it in `main`, after [`serve`] and
/// before anything else: it takes over the memory of arguments and environment for the title.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    title::claim_and_keep("supervisor", words_of(&arguments));
    let has_end_of_options = arguments.iter().any(|word| word == "--");
    let words = arguments.iter().skip(1);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into()).collect();
    let (args, is_consistent) = match args::Args::read(arguments) {
        Ok(read) => read,
        Err(mut error) => {
            advice::correct(&mut error, &words);
            let code = if error.use_stderr() {
                code::USAGE
            } else {
                code::DONE
            };
            print_usage(&error);
            return code.into();
        }
    };
    let outcome = do_as_told(args, is_consistent, has_end_of_options);
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
