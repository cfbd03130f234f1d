//! The options as they are typed. What they mean together is for `config`.

mod jobs;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

pub(super) use jobs::JobArgs;

use super::compare::Compare;
use super::dead::Dead;
use super::manual::Completions;
use super::salvage::Salvage;

/// A longer time than this is a typing error.
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// Runs a COMMAND for each item by supervised workers; without one, washes dishes and has them dried.
///
/// Items are put on a queue, from where workers take them. Whatever dies, no item is lost: it goes to
/// another attempt, and one that always fails is given up on and named. Without a COMMAND items are
/// dishes, which are washed here and dried by the workers.
#[derive(Debug, Parser)]
#[command(
    name = "supervisor",
    version,
    after_help = EXAMPLES,
    arg_required_else_help = false,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    subcommand_value_name = "SUBCOMMAND",
    subcommand_help_heading = "Subcommands",
    max_term_width = 100
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,

    /// Workers [default: number of CPUs]
    #[arg(short, long, value_name = "N")]
    pub(super) workers: Option<usize>,

    /// How they run
    #[arg(long, value_enum, default_value = "processes")]
    pub(super) mode: Mode,

    /// Make dish-1 ... dish-N [default: 4, where there is no --input]
    #[arg(
        help_heading = "Options for dishes",
        long,
        value_name = "N",
        conflicts_with = "input"
    )]
    pub(super) dishes: Option<u64>,

    /// Take the items from this file, one a line; - is stdin, which is also where a COMMAND's items
    /// come from without this
    #[arg(long, value_name = "FILE")]
    pub(super) input: Option<PathBuf>,

    /// Time to wash a dish: 2s, 100ms, or 0.5 for half a second
    /// [default: 1s]
    #[arg(help_heading = "Options for dishes", long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub(super) wash: Option<Duration>,

    /// Time to dry a dish [default: 2s]
    #[arg(help_heading = "Options for dishes", long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub(super) dry: Option<Duration>,

    /// Pad each dish to this size [default: 0]
    #[arg(help_heading = "Options for dishes", long, value_name = "BYTES")]
    pub(super) payload: Option<usize>,

    /// No line (or event) per dish; failures and the summary at the end stay
    #[arg(short, long)]
    pub(super) quiet: bool,

    /// How worker processes are made: executed anew, or forked from a fork server
    #[arg(long, value_enum, default_value = "spawn")]
    pub(super) start_method: Method,

    /// Items on the queue before more are read or made; 0 for no bound
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(super) capacity: usize,

    /// Hand each item directly to an idle worker: no queue
    #[arg(long, conflicts_with = "capacity")]
    pub(super) direct: bool,

    /// Nobody looks for news before he sleeps: workers take longer to notice an item, and leave the
    /// processors to others meanwhile
    #[arg(long)]
    pub(super) no_poll: bool,

    /// Attempts before an item is given up on
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_attempts: u32,

    /// Rest before the next attempt: half of this to all of it, then twice as long, and so on up to
    /// a minute [default: none]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub(super) backoff: Option<Duration>,

    /// Time for one item: a worker that takes longer, and all that it has started, gets SIGTERM and a
    /// second later SIGKILL, and the item goes to another attempt [default: none]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub(super) timeout: Option<Duration>,

    /// Time for finishing what has begun when stopped
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, allow_hyphen_values = true)]
    pub(super) shutdown: Duration,

    /// Give a worker up after more restarts than this within --max-seconds; deaths while it has an
    /// item do not count, the item is charged with them
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) max_restarts: u32,

    /// The period of --max-restarts
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, allow_hyphen_values = true)]
    pub(super) max_seconds: Duration,

    /// Keep a journal in this file, and go on where it stopped: what is done is not done again, and
    /// items of the same text are not put again
    #[arg(long, value_name = "FILE")]
    pub(super) journal: Option<PathBuf>,

    /// What the journal survives: the loss of power (every commit is synced), or the kill of any
    /// process
    #[arg(long, value_enum, default_value = "full", requires = "journal")]
    pub(super) durability: Promise,

    /// Add a line of JSON to this file for each item that is given up on
    #[arg(long, value_name = "FILE")]
    pub(super) dead_letters: Option<PathBuf>,

    /// Draw the run as a time chart into this SVG file: who worked on what, and what died when
    #[arg(long, value_name = "FILE")]
    pub(super) timeline: Option<PathBuf>,

    /// Write the run as a Chrome trace into this JSON file, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,

    /// What is printed: lines, or one JSON event a line
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,

    /// How far the run is, on stderr: bars if it is a terminal, or a JSON object about once a
    /// second; auto: bars if nothing else is displayed on the same terminal
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) progress: Show,

    #[command(flatten)]
    pub(super) jobs: JobArgs,
}

const EXAMPLES: &str = "\
Examples:
  supervisor -w 8 --input names.txt -- gzip -9
      a command for each name in a file, eight at once
  find . -name '*.png' -print0 | supervisor -0 -k -- sh -c 'identify \"$1\" | cut -c 1-60' _ {}
      a script for each file, output in the order of the files
  supervisor --journal jobs.journal --input jobs.txt -- ./job
      killed at any moment, it goes on where it stopped when it is run again
  supervisor dead list --journal jobs.journal
      what was given up on; `dead retry` has the next run try it again
  supervisor --worker 'python3 model.py' --input names.txt
      names are served by processes that keep a model in memory
  supervisor --workers 2
      no command: four dishes, a second to wash and two to dry each, by two processes
  supervisor --mode sequential
      the same by one person
  supervisor --workers 2 --timeline run.svg
      the same as a picture: who did what when, and what died
  supervisor compare
      one person, processes, threads and tasks, drawn below each other

While it runs, `ps -o pid,ppid,comm,args` shows what each worker is doing. Kill one with
`kill -9`: its item goes to another attempt. Ctrl-C finishes what has begun and stops; a second
Ctrl-C stops at once.

Exit code: 0 all items done, 1 some were given up on, 2 wrong usage, or a file, journal or command
that cannot be used, 3 no workers left, 70 internal error, 141 nobody reads stdout any more, 128 and
the signal's number when stopped by a signal.";

/// What is to be done, if not washing.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Look at the dead letters of a journal, retry or drop them
    #[command(subcommand)]
    Dead(Dead),
    /// Make a new journal of what can be read of a damaged one
    Salvage(Salvage),
    /// Print the manual page, for `man -l -`
    Manual,
    /// Print what a shell needs to complete the options
    Completions(Completions),
    /// Wash and dry in each of the four ways, and draw them below each other
    Compare(Compare),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Promise {
    Full,
    Normal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    Processes,
    Threads,
    Tasks,
    Sequential,
}

impl Mode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Processes => "processes",
            Mode::Threads => "threads",
            Mode::Tasks => "tasks",
            Mode::Sequential => "sequential",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Method {
    Spawn,
    Fork,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Show {
    Auto,
    Bar,
    Json,
    None,
}

/// Reads `2s`, `100ms`, `1h30m`, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let signed = match text.parse::<f64>() {
        Ok(seconds) => SignedDuration::try_from_secs_f64(seconds)
            .map_err(|_| "not a time, or more than a year")?,
        Err(_) => text
            .parse::<SignedDuration>()
            .map_err(|_| "expected a time such as 2s, 100ms, or 0.5 for half a second")?,
    };
    let time = Duration::try_from(signed).map_err(|_| "a time cannot be negative")?;
    if time > YEAR {
        return Err("a time of more than a year".into());
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn times_are_read_with_a_unit_or_as_seconds() {
        let cases = [
            ("2s", 2_000),
            ("100ms", 100),
            ("0.5", 500),
            ("0", 0),
            ("0s", 0),
            ("1.5s", 1_500),
            ("1h30m", 5_400_000),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn senseless_times_are_refused() {
        for text in [
            "-1s",
            "-0.1",
            "nan",
            "inf",
            "1e300",
            "400d",
            "10000h",
            "",
            "2 parsecs",
            "s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_options_are_consistent() {
        Args::command().debug_assert();
    }
}
