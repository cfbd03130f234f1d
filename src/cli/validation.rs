//! What the options mean together, checked before anything is started.

use std::path::PathBuf;
use std::time::Duration;

use super::args::{
    Format, ItemArgs, JobArgs, Mode, PoolArgs, Promise, RunArgs, ShownArgs, WorkArgs,
};
use super::config::{Config, DishConfig, Purpose};
use super::dead_letter_log;
use super::input::{self, Source};
use super::jobs::{self, JobConfig};
use super::layout::REDIS_PAYLOAD_MAX;
use super::output::{self, Output};
use crate::cli::scratch;
use crate::store::journal::{Durability, own_files};
use crate::store::stream::Opening;
use dishrack_core::ledger::{Backoff, Capacity, Options};

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

/// A command that says that it has failed is not run again unless that is asked for: it may have done
/// half of its work.
const COMMAND_ATTEMPTS: u32 = 1;

/// How many attempts of a command may be lost, if no more are asked for.
const LOST_ATTEMPTS: u32 = 3;

/// A run that puts items, works on them, and waits for the end. An error names the option and
/// says what is wrong with it.
pub(super) fn of_run(args: RunArgs) -> Result<(Config, Work), String> {
    let RunArgs {
        pool,
        items,
        place,
        shown,
        jobs,
    } = args;
    let shared = place.place();
    check_payload(&items, shared.is_some())?;
    if jobs.are_meant() {
        check_mode(&pool)?;
    }
    if shared.is_some() {
        check_halt(&jobs)?;
    }
    let (source, separator) = source(&items, &jobs)?;
    let capacity = match items.capacity {
        // Otherwise two that wait could be begun at once.
        _ if items.direct || jobs.delay.is_some() => Capacity::Rendezvous,
        0 => Capacity::Unbounded,
        bound => Capacity::Bounded(bound),
    };
    // No file is used twice.
    let mut taken: Vec<PathBuf> = items.journal.iter().cloned().collect();
    if let Source::File(input) = &source {
        taken.push(input.clone());
    }
    // So are the journal's folder, and the files that SQLite keeps next to the journal.
    if let Some(journal) = items.journal.as_deref() {
        taken.push(scratch::folder_of(journal));
        taken.extend(own_files(journal));
    }
    let is_resumable = items.journal.is_some();
    let (work, total) = match jobs.are_meant() {
        true => Work::jobs(&jobs, &source, shown.format, is_resumable, &mut taken)?,
        false => Work::dishes(&items, pool.dry, &source, separator)?,
    };
    let from = Origin {
        purpose: Purpose::All,
        is_command: jobs.are_meant(),
        source,
        separator,
        capacity,
        // With others nobody knows how many there will be.
        total: total.filter(|_| shared.is_none()),
    };
    let mut config = config_of(pool, shown, from, &mut taken)?;
    let durability = items.durability.into();
    config.journal = items.journal.map(|path| (path, durability));
    config.shared = shared;
    Ok((config, work))
}

/// A run that works on what others put.
pub(super) fn of_work(args: WorkArgs) -> Result<(Config, Work), String> {
    let place = args.place()?;
    let WorkArgs {
        until_done,
        pool,
        shown,
        jobs,
        ..
    } = args;
    if jobs::given(&jobs.command)?.is_some() {
        return Err(
            "::: is not for this: items are put by `supervisor put`, and worked on here".into(),
        );
    }
    if jobs.dry_run {
        return Err("--dry-run: there is nothing to be printed before an item comes".into());
    }
    if jobs.are_meant() {
        check_mode(&pool)?;
    }
    check_halt(&jobs)?;
    let mut taken = Vec::new();
    let work = match jobs.are_meant() {
        true => Work::jobs(&jobs, &Source::Others, shown.format, false, &mut taken)?.0,
        false => Work::Dishes(DishConfig::of(None, pool.dry)),
    };
    let from = Origin {
        purpose: match until_done {
            true => Purpose::WorkUntilDone,
            false => Purpose::Work,
        },
        is_command: jobs.are_meant(),
        source: Source::Others,
        separator: b'\n',
        capacity: Capacity::Unbounded,
        total: None,
    };
    let mut config = config_of(pool, shown, from, &mut taken)?;
    // Whoever waits for the end of what is not there would find it at once.
    config.shared = Some(match until_done {
        true => place.opening(Opening::ExistingOrUnbegun),
        false => place,
    });
    Ok((config, work))
}

fn config_of(
    pool: PoolArgs,
    shown: ShownArgs,
    from: Origin,
    taken: &mut Vec<PathBuf>,
) -> Result<Config, String> {
    let workers = check(&pool)?;
    let max_attempts = pool.max_attempts.unwrap_or(match from.is_command {
        true => COMMAND_ATTEMPTS,
        false => Options::default().max_attempts,
    });
    let dead_letters = match shown.dead_letters {
        None => None,
        Some(path) => {
            let file = dead_letter_log::open(&path, taken)?;
            taken.push(path.clone());
            Some((path, file))
        }
    };
    Ok(Config {
        purpose: from.purpose,
        workers: if pool.mode == Mode::Sequential {
            1
        } else {
            workers
        },
        mode: pool.mode,
        source: from.source,
        separator: from.separator,
        total: from.total,
        is_quiet: shown.quiet,
        has_summary: !shown.no_summary,
        options: Options {
            capacity: from.capacity,
            max_attempts,
            max_lost_attempts: from.is_command.then(|| max_attempts.max(LOST_ATTEMPTS)),
            backoff: pool.backoff.map_or(Backoff::none(), |base| {
                Backoff::exponential(base, base.max(BACKOFF_MAX))
            }),
        },
        pool,
        format: shown.format,
        progress: shown.progress,
        journal: None,
        shared: None,
        dead_letters,
        timeline: Output::open("--timeline", shown.timeline, output::CHART, taken)?,
        trace: Output::open("--trace", shown.trace, output::TRACE, taken)?,
    })
}

/// What a run is for, and where its items come from.
struct Origin {
    purpose: Purpose,
    /// Whether a COMMAND is run for them.
    is_command: bool,
    source: Source,
    separator: u8,
    capacity: Capacity,
    total: Option<u64>,
}

impl DishConfig {
    fn of(items: Option<&ItemArgs>, dry: Option<Duration>) -> Self {
        DishConfig {
            wash: items.and_then(|items| items.wash).unwrap_or(WASH),
            dry: dry.unwrap_or(DRY),
            is_dry_given: dry.is_some(),
            payload: items.and_then(|items| items.payload).unwrap_or(0),
        }
    }
}

impl Work {
    /// And how many items there are, where that is known.
    fn jobs(
        jobs: &JobArgs,
        source: &Source,
        format: Format,
        is_resumable: bool,
        taken: &mut Vec<PathBuf>,
    ) -> Result<(Self, Option<u64>), String> {
        let (jobs, total) = JobConfig::validate(jobs, source, format, is_resumable, taken)?;
        Ok((Work::Jobs(Box::new(jobs)), total))
    }

    /// The same for dishes.
    fn dishes(
        items: &ItemArgs,
        dry: Option<Duration>,
        source: &Source,
        separator: u8,
    ) -> Result<(Self, Option<u64>), String> {
        let total = input::check(source, separator, |line| {
            input::text(line.clone(), source).map(drop)
        })?;
        Ok((Work::Dishes(DishConfig::of(Some(items), dry)), total))
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

/// How a COMMAND can be run.
fn check_mode(pool: &PoolArgs) -> Result<(), String> {
    if pool.mode != Mode::Processes {
        let mode = pool.mode.name();
        return Err(format!("--mode {mode}: a COMMAND is run by processes"));
    }
    Ok(())
}

/// When a run on a queue that others share can be halted.
fn check_halt(jobs: &JobArgs) -> Result<(), String> {
    match &jobs.halt {
        Some(halt) if halt.ends_with('%') => Err(format!(
            "--halt {halt}: with --redis nobody knows how many items there are in all: give a number"
        )),
        _ => Ok(()),
    }
}

/// Where the items come from, and what ends one.
fn source(items: &ItemArgs, jobs: &JobArgs) -> Result<(Source, u8), String> {
    let separator = if jobs.null { 0 } else { b'\n' };
    let given = jobs::given(&jobs.command)?;
    let source = match &items.input {
        Some(_) if given.is_some() => {
            return Err("--input: the items follow ::: already".into());
        }
        Some(path) => Source::named(path),
        None => match given {
            Some(items) => Source::Given(items),
            None if jobs.are_meant() => Source::Stdin,
            None => Source::MadeUp(items.dishes.unwrap_or(4)),
        },
    };
    Ok((source, separator))
}

/// No dish is heavier than what keeps it takes.
fn check_payload(items: &ItemArgs, is_shared: bool) -> Result<(), String> {
    let payload_max = match items.journal {
        _ if is_shared => REDIS_PAYLOAD_MAX,
        None => PAYLOAD_MAX,
        Some(_) => JOURNALED_PAYLOAD_MAX,
    };
    match items.payload.filter(|payload| *payload > payload_max) {
        Some(payload) => Err(format!("--payload {payload}: at most {payload_max} bytes")),
        None => Ok(()),
    }
}

/// What each number must be by itself. How many workers there are.
fn check(pool: &PoolArgs) -> Result<usize, String> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = pool.workers.unwrap_or(cpus);
    if workers == 0 {
        return Err("--workers 0: at least 1 is needed".into());
    }
    if pool.timeout.is_some() && matches!(pool.mode, Mode::Threads | Mode::Sequential) {
        let mode = pool.mode.name();
        return Err(format!(
            "--timeout: what --mode {mode} works on cannot be ended; use processes or tasks"
        ));
    }
    if pool.timeout == Some(Duration::ZERO) {
        return Err("--timeout 0: no time is too little for any item".into());
    }
    Ok(workers)
}
