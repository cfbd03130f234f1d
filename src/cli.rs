//! The command line: arguments, then a validated configuration, then a run.
//!
//! Only this module and `bin` print and end the process. All output but the job's goes to stderr.

mod add;
mod address;
mod advice;
mod args;
mod asking;
mod bug;
mod combinations;
mod command_line;
mod config;
mod dead;
mod dead_letter_log;
mod detached_log;
mod earlier;
mod event_json;
mod exit_codes;
mod expected;
mod gathering;
mod halt;
mod input;
mod items;
mod job_control;
mod jobs;
mod join;
mod kitchen;
mod layout;
mod letter;
mod lists;
mod logs;
mod make;
mod manual;
mod no_more_items;
mod notices;
mod opening;
mod orders;
mod orphans;
mod otlp;
mod output;
mod pictures;
mod printer;
mod progress;
mod ps;
mod put;
mod put_buffer;
mod rules;
mod run;
mod run_options;
mod salvage;
mod scratch;
mod screen;
mod served;
mod service;
mod serving;
mod signal_orders;
mod state;
mod status;
mod steering;
mod stop;
mod stream;
mod ticks;
mod top;
mod unwritten;
mod validation;
mod view;
mod web;
mod work;
mod workload;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::Args as _;
use nix::sys::signal::Signal;

use self::command_line::{Command, CommandLine};
use self::exit_codes::{RunError, code};
use self::make::ChangesNothing;
use self::put::Put;
use self::run_options::{RunArgs, WorkArgs};
use self::screen::StandardStream;
use crate::Jobserver;
use crate::observe::text::harmless;
use crate::sys::threads::owner::hear_panics;
use crate::sys::{signals, title};

/// Serves the workers of the command line; the first call of `main`.
pub fn serve() {
    signals::inherited();
    signals::keep_exits();
    // A write beyond the file size limit then fails with an error, which names the file.
    signals::ignore(Signal::SIGXFSZ);
    crate::serve(|roles| {
        crate::kitchen::serve(roles);
        crate::jobs::serve(roles);
    });
}

/// The job server of the make that has started this process.
static JOBSERVER: OnceLock<Option<Jobserver>> = OnceLock::new();

fn run_with((config, work): (config::Config, validation::WorkConfig)) -> Result<u8, RunError> {
    match work {
        validation::WorkConfig::Kitchen(settings) => {
            let work = kitchen::KitchenWork::new(settings, &config);
            run::run(config, work)
        }
        validation::WorkConfig::Jobs(jobs) if jobs.is_dry_run => jobs::dry_run(&config, &jobs),
        validation::WorkConfig::Jobs(jobs) => {
            let jobs = jobs::Jobs::new(*jobs, config.workers, config.pool.shutdown);
            // A queue that stays outlives the make that has started it.
            let jobserver = JOBSERVER.get().cloned().flatten();
            let jobserver = jobserver.filter(|_| config.purpose != config::Purpose::Serve);
            run::run(config, jobs.under(jobserver))
        }
    }
}

/// Carries out a run, or what the make that has started it wants instead of its commands.
fn run_as_asked(mut args: RunArgs) -> Result<u8, RunError> {
    let asked = ChangesNothing::as_asked().filter(|_| args.jobs.are_meant());
    match asked {
        None => {}
        Some(ChangesNothing::Prints) => args.jobs.dry_run = true,
        Some(asked) => return Ok(run_nothing(asked)),
    }
    run_with(validation::of_run(args).map_err(RunError::Usage)?)
}

/// Works on a stream, unless the make that has started this wants nothing changed: what the commands would
/// be is not known before items are taken.
fn work_as_asked(args: WorkArgs) -> Result<u8, RunError> {
    match ChangesNothing::as_asked().filter(|_| args.jobs.are_meant()) {
        Some(asked) => Ok(run_nothing(asked)),
        None => run_with(validation::of_work(args).map_err(RunError::Usage)?),
    }
}

/// Says that no command is run, and returns the exit code that answers the make.
fn run_nothing(asked: ChangesNothing) -> u8 {
    let flag = match asked {
        ChangesNothing::Prints => "-n",
        ChangesNothing::Touches => "-t",
        // It wants to hear nothing.
        ChangesNothing::Asks => return make::TO_BE_DONE,
    };
    screen::say(&format!("supervisor: make {flag}: no command is run"));
    code::DONE
}

/// Carries the command line out and returns the exit code.
fn do_as_told(
    args: CommandLine,
    is_consistent: Result<(), String>,
    has_end_of_options: bool,
) -> Result<u8, RunError> {
    let jobs = match &args.command {
        Some(Command::Work(work)) => Some(&work.jobs),
        Some(Command::Serve(serve)) => Some(&serve.jobs),
        Some(_) => None,
        None => Some(&args.run.jobs),
    };
    // An empty variable must not turn a run of commands into one without.
    if has_end_of_options && jobs.is_some_and(|jobs| !jobs.are_meant()) {
        return Err(RunError::Usage("--: there is no COMMAND after it".into()));
    }
    is_consistent.map_err(RunError::Usage)?;
    match args.command {
        Some(Command::Put(command)) => put::run(&command),
        Some(Command::Work(command)) => work_as_asked(*command.0),
        Some(Command::Serve(command)) => {
            run_with(validation::of_serve(*command.0).map_err(RunError::Usage)?)
        }
        Some(Command::Add(command)) => add::run(&command),
        Some(Command::Join(command)) => join::run(&command),
        Some(Command::Status(command)) => status::run(&command),
        Some(Command::Top(command)) => top::run(&command),
        Some(Command::Web(command)) => web::run(&command),
        Some(Command::Ps(command)) => ps::run(&command),
        Some(Command::List(command)) => items::list(&command),
        Some(Command::Show(command)) => items::show(&command),
        Some(Command::Logs(command)) => logs::run(&command),
        Some(Command::Wait(command)) => items::wait(&command),
        Some(Command::Cancel(command)) => orders::cancel(&command),
        Some(Command::Retry(command)) => orders::retry(&command),
        Some(Command::Pause(command)) => orders::pause(&command),
        Some(Command::Resume(command)) => orders::resume(&command),
        Some(Command::Scale(command)) => orders::scale(&command),
        Some(Command::Reload(command)) => orders::reload(&command),
        Some(Command::Stop(command)) => orders::stop(&command),
        Some(Command::Dead(command)) => dead::run(&command),
        Some(Command::Salvage(command)) => salvage::run(&command),
        Some(Command::Manual(manual)) => manual::run(&manual, CommandLine::whole()),
        Some(Command::Completions(command)) => manual::complete(&command, CommandLine::whole()),
        Some(Command::Compare(command)) => kitchen::compare::run(&command),
        None => {
            if !args.run.jobs.are_meant() && args.run.items.input.is_none() {
                input::tell_if_unread(kitchen::UNREAD);
            }
            run_as_asked(args.run)
        }
    }
}

/// Prints clap's message. If even this fails, the exit code has to say it.
fn print_usage(error: &clap::Error) {
    let (stream, is_terminal) = match error.use_stderr() {
        true => (StandardStream::Err, io::stderr().is_terminal()),
        false => (StandardStream::Out, io::stdout().is_terminal()),
    };
    let text = error.to_string();
    let _ = match harmless(&text) {
        Cow::Borrowed(_) if is_terminal => error.print(),
        // The arguments may contain control characters.
        text => { stream }.write_all(text.as_bytes()),
    };
}

/// Returns the words of the command line, which `ps` shows and `pkill -f` searches.
fn words_of(arguments: &[OsString]) -> String {
    let words = arguments
        .iter()
        .map(|word| without_password(&word.to_string_lossy()));
    words.collect::<Vec<_>>().join(" ")
}

/// Returns a word without what may be a password in a URL.
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
    hear_panics(bug::found);
    // Before any other file has the number of one that was not inherited.
    JOBSERVER.get_or_init(Jobserver::from_environment);
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    service::take_from_environment();
    title::claim_and_keep("supervisor", words_of(&arguments));
    let has_end_of_options = arguments.iter().any(|word| word == "--");
    let words = arguments.iter().skip(1);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into()).collect();
    let (args, is_consistent) = match CommandLine::read(arguments) {
        Ok(read) => read,
        Err(mut error) => {
            advice::correct(&mut error, &words, || {
                Put::augment_args(clap::Command::new("put"))
            });
            let code = if error.use_stderr() {
                code::USAGE
            } else {
                code::DONE
            };
            print_usage(&error);
            return code.into();
        }
    };
    let act = AssertUnwindSafe(|| do_as_told(args, is_consistent, has_end_of_options));
    let outcome = catch_unwind(act).unwrap_or_else(|panic| Err(RunError::of_panic(&*panic)));
    bug::wait_if_found();
    // Whatever became of it.
    exit_codes::leave_clean();
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => {
            screen::complain(&failure);
            failure.code().into()
        }
    }
}
