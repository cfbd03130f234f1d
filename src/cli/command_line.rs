//! The whole command line: the options of a run, and the subcommands, but not what these do.

use std::ffi::OsString;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use super::add::Add;
use super::args::{Deferred, ServeArgs};
use super::dead::Dead;
use super::items::{ListItems, ShowItems, WaitItems};
use super::join::Join;
use super::kitchen;
use super::kitchen::compare::Compare;
use super::logs::ShowLogs;
use super::manual::{Completions, Manual};
use super::orders::{Cancel, Retry, RunOrder, ScaleRun, StopRun};
use super::ps::Ps;
use super::put::Put;
use super::rules;
use super::run_options::{RunArgs, WorkArgs};
use super::salvage::Salvage;
use super::status::StatusArgs;
use super::top::Top;
use super::web::ServeWeb;

/// The arguments of the program.
#[derive(Debug, Parser)]
#[command(
    name = "supervisor",
    version,
    about = kitchen::ABOUT,
    long_about = long_about(),
    after_help = after_help(),
    arg_required_else_help = false,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    subcommand_value_name = "SUBCOMMAND",
    subcommand_help_heading = "Subcommands",
    max_term_width = 100
)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    #[command(flatten)]
    pub(super) run: RunArgs,
}

impl CommandLine {
    /// Returns the command with all subcommands and options.
    pub(super) fn whole() -> clap::Command {
        let mut whole = CommandLine::command();
        whole.build();
        whole
    }

    /// Reads the arguments, the program's name first, and checks whether the options go together.
    pub(super) fn read(words: Vec<OsString>) -> Result<(Self, Result<(), String>), clap::Error> {
        let mut command = CommandLine::command();
        let matches = command.try_get_matches_from_mut(words)?;
        let args =
            CommandLine::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        Ok((args, rules::check(&command, &matches)))
    }
}

/// Returns the beginning of the long help.
fn long_about() -> String {
    format!(
        "{}.\n\nItems are put on a queue, from where workers take them. No death of a process loses \
         an item: it gets another attempt, and one that always fails is given up on and named. {}",
        kitchen::ABOUT,
        kitchen::WITHOUT_COMMAND
    )
}

/// Returns the examples and notes at the end of the help.
fn after_help() -> String {
    format!("\
Examples:
  supervisor -w 8 --input names.txt -- gzip -9
      a command for each name in a file, eight at once
  find . -name '*.png' -print0 | supervisor -0 -k -- sh -c 'identify \"$1\" | cut -c 1-60' _ {{}}
      a script for each file, output in the order of the files
  supervisor --journal jobs.journal --input jobs.txt -- ./job
      killed at any moment, it goes on where it stopped when it is run again
  supervisor dead list --journal jobs.journal
      what was given up on; `dead retry` has the next run try it again
  supervisor put --redis redis://db1 --input jobs.txt
  supervisor work --redis redis://db1 -- ./job {{}}
      jobs for many machines: put from one, worked on by each where the second line is run;
      `join` waits for all of them, `status` shows how they stand
  supervisor add --start -- ffmpeg -i a.mov a.webm
      a command on a queue that stays; `wait` and `logs -f` follow it
  supervisor --worker 'python3 model.py' --input names.txt
      names are served by processes that keep a model in memory
{}

While it runs, `supervisor status` in another terminal shows how it stands, and `put`, `pause`,
`cancel` or `stop` steer it. `ps -o pid,ppid,comm,args` shows what each worker is doing. Kill one with
`kill -9`: its item goes to another attempt. Ctrl-C finishes what has begun and stops; a second
Ctrl-C stops at once.

Exit code: 0 all items done, 1 some were given up on, 2 wrong usage, or a file, journal or command
that cannot be used, 3 no workers left, 70 internal error, 141 nobody reads stdout any more, 128 and
the signal's number when stopped by a signal.", kitchen::EXAMPLES)
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show which runs there are
    Ps(Deferred<Ps>),
    /// Show how a run stands, or a stream in Redis
    Status(Deferred<StatusArgs>),
    /// Show a run on the whole terminal, and steer it by keys
    Top(Deferred<Top>),
    /// Serve a page that shows a run to browsers
    Web(Deferred<ServeWeb>),
    /// Put items on the queue of a run, or on a stream in Redis
    Put(Deferred<Put>),
    /// Serve a queue that stays, on a journal, until it is stopped
    Serve(Deferred<ServeArgs>),
    /// Add a command to a served queue
    Add(Deferred<Add>),
    /// Work on a stream in Redis until stopped
    Work(Deferred<WorkArgs>),
    /// List the items of a run
    List(Deferred<ListItems>),
    /// Show items of a run: who has them, and each failed attempt
    Show(Deferred<ShowItems>),
    /// Show what an item's command has written
    Logs(Deferred<ShowLogs>),
    /// Wait until items of a run have ended
    Wait(Deferred<WaitItems>),
    /// Wait until everything of a run, or on a stream in Redis, has an end
    Join(Deferred<Join>),
    /// Work on items of a run no more: they become dead letters
    Cancel(Deferred<Cancel>),
    /// Try dead letters of a run again
    Retry(Deferred<Retry>),
    /// Have a run begin nothing more, until it is resumed
    Pause(Deferred<RunOrder>),
    /// End a pause
    Resume(Deferred<RunOrder>),
    /// Change the number of a run's workers
    Scale(Deferred<ScaleRun>),
    /// Replace all workers of a run, one after the other
    Reload(Deferred<RunOrder>),
    /// Stop a run, and wait for its end
    Stop(Deferred<StopRun>),
    /// Look at the dead letters of a journal or a stream, retry or drop them
    #[command(subcommand, after_help = super::dead::EXAMPLES)]
    Dead(Dead),
    /// Make a new journal of what can be read of a damaged one
    Salvage(Deferred<Salvage>),
    /// Print the manual page, for `man -l -`
    Manual(Deferred<Manual>),
    /// Print what a shell needs to complete the options
    Completions(Deferred<Completions>),
    #[command(about = kitchen::compare::ABOUT)]
    Compare(Deferred<Compare>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::serve::NOT_FOR_IT;
    use crate::cli::run_options::NOT_OF_WORK;

    #[test]
    fn the_options_are_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn what_is_not_for_a_subcommand_is_an_option_and_is_hidden() {
        let whole = CommandLine::whole();
        for (name, hidden) in [("serve", &NOT_FOR_IT[..]), ("work", &NOT_OF_WORK)] {
            let subcommand = whole.find_subcommand(name).unwrap();
            for id in hidden {
                let mut its = subcommand.get_arguments();
                let arg = its.find(|arg| arg.get_id() == id);
                assert!(arg.is_some_and(clap::Arg::is_hide_set), "{name}: {id}");
            }
        }
    }
}
