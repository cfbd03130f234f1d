//! Turns the options into a configuration, checked before anything is started.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::Address;
use super::args::{
    ArgumentArgs, ControlArgs, Format, ItemArgs, JobArgs, LimitArgs, PoolArgs, Promise, ServeArgs,
    ShownArgs,
};
use super::config::{Config, Purpose};
use super::input::ItemSource;
use super::jobs::JobConfig;
use super::kitchen::{DishConfig, WashArgs, check_payload};
use super::lists;
use super::output::{self, OutputFile};
use super::run_options::{RunArgs, WorkArgs};
use super::state;
use super::{dead_letter_log, detached_log, otlp};
use crate::cli::scratch;
use crate::jobs::slots;
use crate::observe::Mode;
use crate::store::journal::own_files;
use crate::store::stream::Opening;
use crate::{Backoff, Capacity, Durability, Options};

/// The longest rest, unless the first one is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The kind of work.
#[derive(Debug)]
pub(super) enum WorkConfig {
    /// There is no command for the items.
    Kitchen(DishConfig),
    /// The items are given to a command.
    Jobs(Box<JobConfig>),
}

/// The default number of attempts of a command that says that it failed. It may have done half of
/// its work, so it is not run again unless that is asked for.
const COMMAND_ATTEMPTS: u32 = 1;

/// The least number of lost attempts of a command after which it is given up.
const LOST_ATTEMPTS: u32 = 3;

/// Makes a run that puts items and works on them. An error names the option and its fault.
pub(super) fn of_run(args: RunArgs) -> Result<(Config, WorkConfig), String> {
    let RunArgs {
        pool,
        items,
        made_here,
        kitchen,
        place,
        mut shown,
        habits,
        jobs,
        arguments,
        control,
    } = args;
    shown.progress = habits.progress(shown.progress);
    let shared = place.place();
    check_payload(&made_here, items.journal.is_some(), shared.is_some())?;
    if jobs.are_meant() {
        check_mode(&pool)?;
    }
    if let Some(place) = &shared {
        check_halt(&jobs, place)?;
    }
    let (source, separator) = source(&items, &made_here, (&jobs, &arguments))?;
    let capacity = match items.capacity {
        // Otherwise two items that wait could be begun at once.
        _ if items.direct || jobs.delay.is_some() => Capacity::Rendezvous,
        0 => Capacity::Unbounded,
        bound => Capacity::Bounded(bound),
    };
    let mut taken = taken_by(items.journal.as_deref(), &source);
    let is_resumable = items.journal.is_some();
    let (work, total) = match jobs.are_meant() {
        true => WorkConfig::jobs(
            (&jobs, &arguments, &pool.limits),
            &source,
            shown.format,
            is_resumable,
            &mut taken,
        )?,
        false => {
            let total = made_here.check(&source, separator)?;
            (
                WorkConfig::Kitchen(DishConfig::new(&made_here, &kitchen)),
                total,
            )
        }
    };
    let from = RunSource {
        purpose: Purpose::All,
        is_command: jobs.are_meant(),
        source,
        separator,
        capacity,
        // The number is unknown if others put items too.
        total: total.filter(|_| shared.is_none()),
    };
    let mut config = config_of(pool, (shown, control), from, &mut taken)?;
    if let (Some(size), WorkConfig::Jobs(work)) = (arguments.lot_size(), &work) {
        config.gathering = Some(work.gathering(size, config.workers, &config.source));
        config.total = None;
    }
    let durability = items.durability.into();
    config.journal = items.journal.map(|path| (path, durability));
    config.shared = shared;
    Ok((config, work))
}

/// Returns the files that a run has already: none may be used twice. The journal's folder and the files
/// that SQLite keeps next to the journal count as well.
fn taken_by(journal: Option<&Path>, source: &ItemSource) -> Vec<PathBuf> {
    let mut taken: Vec<PathBuf> = journal.map(Path::to_owned).into_iter().collect();
    match source {
        ItemSource::File(input) => taken.push(input.clone()),
        ItemSource::Combined(lists) => taken.extend(lists.files.iter().cloned()),
        ItemSource::MadeUp(_) | ItemSource::Given(_) | ItemSource::Stdin | ItemSource::Others => {}
    }
    if let Some(journal) = journal {
        taken.push(scratch::folder_of(journal));
        taken.extend(own_files(journal));
    }
    taken
}

/// Makes a run that works on items that others put.
pub(super) fn of_work(args: WorkArgs) -> Result<(Config, WorkConfig), String> {
    let place = args.place()?;
    let WorkArgs {
        until_done,
        pool,
        kitchen,
        shown,
        jobs,
        arguments,
        control,
        ..
    } = args;
    if lists::are_given(&jobs.command) {
        return Err(
            "::: is not for this: items are put by `supervisor put`, and worked on here".into(),
        );
    }
    if let Some(option) = arguments.of_items_put() {
        return Err(format!(
            "{option}: it is for items that are put: here they come one by one"
        ));
    }
    if jobs.dry_run {
        return Err("--dry-run: there is nothing to be printed before an item comes".into());
    }
    if jobs.are_meant() {
        check_mode(&pool)?;
    }
    check_halt(&jobs, &place)?;
    let mut taken = Vec::new();
    let work = match jobs.are_meant() {
        true => {
            let jobs = (&jobs, &arguments, &pool.limits);
            WorkConfig::jobs(jobs, &ItemSource::Others, shown.format, false, &mut taken)?.0
        }
        false => WorkConfig::Kitchen(DishConfig::new(&WashArgs::default(), &kitchen)),
    };
    let from = RunSource {
        purpose: match until_done {
            true => Purpose::WorkUntilDone,
            false => Purpose::Work,
        },
        is_command: jobs.are_meant(),
        source: ItemSource::Others,
        separator: b'\n',
        capacity: Capacity::Unbounded,
        total: None,
    };
    let mut config = config_of(pool, (shown, control), from, &mut taken)?;
    // A stream that does not exist has no items, so the wait for its end would be over at once.
    config.shared = Some(match until_done {
        true => place.opening(Opening::ExistingOrUnbegun),
        false => place,
    });
    Ok((config, work))
}

/// Makes a run that works on what is put on its own queue, until it is stopped.
pub(super) fn of_serve(args: ServeArgs) -> Result<(Config, WorkConfig), String> {
    let journal = match &args.journal {
        Some(path) => path.clone(),
        None => state::journal_of(args.name())?,
    };
    let name = args.name().to_owned();
    let ready = match args.detached {
        true => {
            detached_log::keep_small(state::log_of(&name)?);
            Some(detach().map_err(|error| format!("it cannot be detached: {error}"))?)
        }
        false => None,
    };
    let ServeArgs {
        durability,
        jobs,
        arguments,
        pool,
        shown,
        mut control,
        ..
    } = args;
    if lists::are_given(&jobs.command) {
        return Err("::: is not for this: items are put by `supervisor put` or `add`".into());
    }
    if control.control.is_none() {
        control.name = Some(name);
    }
    let mut taken = vec![journal.clone(), scratch::folder_of(&journal)];
    taken.extend(own_files(&journal));
    let work = match jobs.are_meant() {
        true => {
            let jobs = (&jobs, &arguments, &pool.limits);
            JobConfig::validate(jobs, &ItemSource::Others, shown.format, true, &mut taken)?.0
        }
        false => JobConfig::of_commands(durability == Promise::Full, &pool.limits)?,
    };
    let from = RunSource {
        purpose: Purpose::Serve,
        is_command: true,
        source: ItemSource::Others,
        separator: b'\n',
        capacity: Capacity::Unbounded,
        total: None,
    };
    let mut config = config_of(pool, (shown, control), from, &mut taken)?;
    if !jobs.are_meant() {
        // What was lost may have done its work, and is run again only if that was asked for.
        let max_attempts = config.options.max_attempts;
        config.options = config.options.max_lost_attempts(Some(max_attempts));
    }
    config.journal = Some((journal, durability.into()));
    config.ready = ready;
    Ok((config, WorkConfig::Jobs(Box::new(work))))
}

/// Leaves the session of whoever has started this process. Returns its stdout, in whose place is
/// stderr from now on.
fn detach() -> io::Result<File> {
    // It fails only for the leader of a group, which is not in anybody's.
    let _ = rustix::process::setsid();
    let ready = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(ready)
}

fn config_of(
    pool: PoolArgs,
    (shown, control): (ShownArgs, ControlArgs),
    from: RunSource,
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
    let workers = match pool.mode {
        Mode::Sequential => 1,
        Mode::Processes | Mode::Threads | Mode::Tasks => workers,
    };
    let mut options = Options::default()
        .capacity(from.capacity)
        .max_attempts(max_attempts)
        .max_lost_attempts(from.is_command.then(|| max_attempts.max(LOST_ATTEMPTS)))
        .backoff(pool.backoff.map_or(Backoff::none(), |base| {
            Backoff::exponential(base, base.max(BACKOFF_MAX))
        }));
    if let Some(copies) = pool.copies.copies(workers)? {
        options = options.copies(copies);
    }
    Ok(Config {
        purpose: from.purpose,
        workers,
        mode: pool.mode,
        source: from.source,
        separator: from.separator,
        gathering: None,
        total: from.total,
        is_quiet: shown.quiet,
        has_summary: !shown.no_summary,
        options,
        pool,
        format: shown.format,
        progress: shown.progress,
        journal: None,
        shared: None,
        dead_letters,
        control,
        ready: None,
        timeline: OutputFile::open("--timeline", shown.timeline, output::CHART, taken)?,
        trace: OutputFile::open("--trace", shown.trace, output::TRACE, taken)?,
        otlp: shown.otlp.as_deref().map(otlp::endpoint).transpose()?,
    })
}

/// The purpose of a run, and the source of its items.
struct RunSource {
    purpose: Purpose,
    /// True if a COMMAND is run for them.
    is_command: bool,
    source: ItemSource,
    separator: u8,
    capacity: Capacity,
    total: Option<u64>,
}

impl WorkConfig {
    /// Makes the work of a COMMAND. Also returns the number of items, if it is known.
    fn jobs(
        jobs: (&JobArgs, &ArgumentArgs, &LimitArgs),
        source: &ItemSource,
        format: Format,
        is_resumable: bool,
        taken: &mut Vec<PathBuf>,
    ) -> Result<(Self, Option<u64>), String> {
        let (jobs, total) = JobConfig::validate(jobs, source, format, is_resumable, taken)?;
        Ok((WorkConfig::Jobs(Box::new(jobs)), total))
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

/// Checks that a COMMAND can be run in this mode.
fn check_mode(pool: &PoolArgs) -> Result<(), String> {
    if pool.mode != Mode::Processes {
        let mode = pool.mode.name();
        return Err(format!("--mode {mode}: a COMMAND is run by processes"));
    }
    Ok(())
}

/// Checks that a run on a shared queue can be halted so.
fn check_halt(jobs: &JobArgs, place: &Address) -> Result<(), String> {
    match &jobs.halt {
        Some(halt) if halt.ends_with('%') => Err(format!(
            "--halt {halt}: with --{} nobody knows how many items there are in all: give a number",
            place.kind().option
        )),
        _ => Ok(()),
    }
}

/// Returns the source of the items, and the byte that ends one.
fn source(
    items: &ItemArgs,
    made_here: &WashArgs,
    (jobs, arguments): (&JobArgs, &ArgumentArgs),
) -> Result<(ItemSource, u8), String> {
    let separator = arguments.separator(jobs.null);
    let (files, is_linked) = (&arguments.arg_file, arguments.link);
    let given = lists::source(files, &jobs.command, separator, is_linked)?;
    let source = match &items.input {
        Some(_) if given.is_some() => {
            return Err("--input: the items follow ::: already".into());
        }
        Some(path) => ItemSource::named(path),
        None => match given {
            Some(source) => source,
            None if jobs.are_meant() => ItemSource::Stdin,
            None => made_here.source(),
        },
    };
    Ok((source, separator))
}

/// Checks each number by itself, and returns the number of workers.
fn check(pool: &PoolArgs) -> Result<usize, String> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    // A slot without a worker would be of no use; a great many may only be names.
    let slots = slots::at_once(&pool.limits.slot).and_then(|slots| usize::try_from(slots).ok());
    let workers = pool
        .workers
        .unwrap_or(cpus.max(slots.unwrap_or(0).min(cpus * 4)));
    if workers == 0 {
        return Err("--workers 0: at least 1 is needed; as many as one likes is a number, too, such as 100, or 400% of the processors".into());
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
    if pool.memory.is_some() && pool.mode != Mode::Processes {
        let mode = pool.mode.name();
        return Err(format!(
            "--memory: what --mode {mode} works on cannot be ended; use processes"
        ));
    }
    let asks_for_room =
        pool.memory_free.is_some() || pool.load.is_some() || pool.pressure.is_some();
    if asks_for_room && pool.mode == Mode::Sequential {
        return Err(
            "--memory-free, --load, --pressure: in --mode sequential one item runs at a time anyway"
                .into(),
        );
    }
    if pool.limits.rate.is_some() && pool.mode == Mode::Sequential {
        return Err("--rate: in --mode sequential nobody is held back; use another mode".into());
    }
    if (pool.nice.is_some() || pool.ionice.is_some()) && pool.mode != Mode::Processes {
        let mode = pool.mode.name();
        return Err(format!(
            "--nice, --ionice: --mode {mode} has no workers of its own to be given a priority; use processes"
        ));
    }
    if pool.memory == Some(0) {
        return Err("--memory 0: no memory is too little for any item".into());
    }
    Ok(workers)
}
