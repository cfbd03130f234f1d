//! What the options mean together, checked before anything is started.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use super::args::{Args, Format, Method, Mode, Promise, Show};
use super::input::{self, Source};
use super::jobs::{self, JobConfig};
use super::obituaries;
use super::output::Output;
use crate::ledger::{Backoff, Capacity, Options};
use crate::store::journal::Durability;

/// A dish heavier than this is a typing error.
const PAYLOAD_MAX: usize = 1 << 30;

/// Times for a dish that is not said otherwise.
const WASH: Duration = Duration::from_secs(1);
const DRY: Duration = Duration::from_secs(2);

/// No rest is longer, unless the first one was asked to be.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// What a journal takes, with room for the rest of a dish.
const JOURNALED_PAYLOAD_MAX: usize = 999_000_000;

/// What is done with the items.
#[derive(Debug)]
pub(super) enum Work {
    /// They are dishes.
    Dishes(DishConfig),
    /// They are given to a command.
    Jobs(Box<JobConfig>),
}

/// What is done with dishes.
#[derive(Debug)]
pub(super) struct DishConfig {
    pub(super) wash: Duration,
    pub(super) dry: Duration,
    pub(super) payload: usize,
}

/// A run that can be.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) workers: usize,
    pub(super) mode: Mode,
    pub(super) source: Source,
    /// What ends an item of the source.
    pub(super) separator: u8,
    /// How many items the source has, where that is known.
    pub(super) total: Option<u64>,
    pub(super) is_quiet: bool,
    pub(super) method: Method,
    pub(super) options: Options,
    pub(super) polls: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) shutdown: Duration,
    pub(super) max_restarts: u32,
    pub(super) max_seconds: Duration,
    pub(super) format: Format,
    pub(super) progress: Show,
    pub(super) journal: Option<(PathBuf, Durability)>,
    pub(super) dead_letters: Option<(PathBuf, File)>,
    pub(super) timeline: Option<Output>,
    pub(super) trace: Option<Output>,
}

impl Config {
    /// An error names the option and says what is wrong with it.
    pub(super) fn validate(args: Args) -> Result<(Self, Work), String> {
        let workers = check(&args)?;
        if args.jobs.are_meant() {
            check_for_jobs(&args)?;
        } else if let Some(option) = args.jobs.stray() {
            return Err(format!("{option}: needs a COMMAND, after --"));
        }
        let (source, separator) = source(&args)?;
        // No file is used twice.
        let mut taken: Vec<PathBuf> = args.journal.iter().cloned().collect();
        if let Source::File(input) = &source {
            taken.push(input.clone());
        }
        let (work, total) = Work::validate(&args, &source, separator, &mut taken)?;
        let dead_letters = match args.dead_letters {
            None => None,
            Some(path) => {
                let file = obituaries::open(&path, &taken)?;
                taken.push(path.clone());
                Some((path, file))
            }
        };
        let has_delay = matches!(&work, Work::Jobs(jobs) if jobs.delay.is_some());
        let capacity = match args.capacity {
            // Otherwise two that wait could be begun at once.
            _ if args.direct || has_delay => Capacity::Rendezvous,
            0 => Capacity::Unbounded,
            bound => Capacity::Bounded(bound),
        };
        let config = Config {
            workers: if args.mode == Mode::Sequential {
                1
            } else {
                workers
            },
            mode: args.mode,
            source,
            separator,
            total,
            is_quiet: args.quiet,
            method: args.start_method,
            options: Options {
                capacity,
                max_attempts: args.max_attempts,
                backoff: args.backoff.map_or(Backoff::none(), |base| {
                    Backoff::exponential(base, base.max(BACKOFF_MAX))
                }),
            },
            polls: !args.no_poll,
            timeout: args.timeout,
            shutdown: args.shutdown,
            max_restarts: args.max_restarts,
            max_seconds: args.max_seconds,
            format: args.format,
            progress: args.progress,
            journal: args.journal.map(|path| (path, args.durability.into())),
            dead_letters,
            timeline: Output::open("--timeline", args.timeline, &mut taken)?,
            trace: Output::open("--trace", args.trace, &mut taken)?,
        };
        Ok((config, work))
    }
}

impl Work {
    /// And how many items there are, where that is known.
    fn validate(
        args: &Args,
        source: &Source,
        separator: u8,
        taken: &mut Vec<PathBuf>,
    ) -> Result<(Self, Option<u64>), String> {
        if args.jobs.are_meant() {
            let is_resumable = args.journal.is_some();
            let (jobs, total) =
                JobConfig::validate(&args.jobs, source, args.format, is_resumable, taken)?;
            return Ok((Work::Jobs(Box::new(jobs)), total));
        }
        let total = input::check(source, separator, |line| {
            input::text(line.clone(), source).map(drop)
        })?;
        let dishes = DishConfig {
            wash: args.wash.unwrap_or(WASH),
            dry: args.dry.unwrap_or(DRY),
            payload: args.payload.unwrap_or(0),
        };
        Ok((Work::Dishes(dishes), total))
    }
}

impl From<Promise> for Durability {
    fn from(promise: Promise) -> Self {
        match promise {
            Promise::Full => Durability::Full,
            Promise::Normal => Durability::Normal,
        }
    }
}

/// What does not go with a command.
fn check_for_jobs(args: &Args) -> Result<(), String> {
    let stray = [
        ("--wash", args.wash.is_some()),
        ("--dry", args.dry.is_some()),
        ("--payload", args.payload.is_some()),
        ("--dishes", args.dishes.is_some()),
    ];
    if let Some((option, _)) = stray.into_iter().find(|(_, is_given)| *is_given) {
        return Err(format!("{option}: is for dishes, and not for a COMMAND"));
    }
    if args.mode != Mode::Processes {
        let mode = args.mode.name();
        return Err(format!("--mode {mode}: a COMMAND is run by processes"));
    }
    Ok(())
}

/// Where the items come from, and what ends one.
fn source(args: &Args) -> Result<(Source, u8), String> {
    let separator = if args.jobs.null { 0 } else { b'\n' };
    let given = jobs::given(&args.jobs.command)?;
    let source = match &args.input {
        Some(_) if given.is_some() => {
            return Err("--input: the items follow ::: already".into());
        }
        Some(path) if path.as_os_str() == "-" => Source::Stdin,
        Some(path) => Source::File(path.clone()),
        None => match given {
            Some(items) => Source::Given(items),
            None if args.jobs.are_meant() => Source::Stdin,
            None => Source::MadeUp(args.dishes.unwrap_or(4)),
        },
    };
    Ok((source, separator))
}

/// What each number must be by itself. How many workers there are.
fn check(args: &Args) -> Result<usize, String> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = args.workers.unwrap_or(cpus);
    if workers == 0 {
        return Err("--workers 0: at least 1 is needed".into());
    }
    let payload_max = match args.journal {
        None => PAYLOAD_MAX,
        Some(_) => JOURNALED_PAYLOAD_MAX,
    };
    if let Some(payload) = args.payload.filter(|payload| *payload > payload_max) {
        return Err(format!("--payload {payload}: at most {payload_max} bytes"));
    }
    if args.timeout.is_some() && matches!(args.mode, Mode::Threads | Mode::Sequential) {
        let mode = args.mode.name();
        return Err(format!(
            "--timeout: what --mode {mode} works on cannot be ended; use processes or tasks"
        ));
    }
    if args.timeout == Some(Duration::ZERO) {
        return Err("--timeout 0: no time is too little for any item".into());
    }
    Ok(workers)
}
