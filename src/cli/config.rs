//! What the options mean together, checked before anything is started.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use super::args::{Args, Format, Method, Mode, Promise, Show};
use super::{input, obituaries};
use crate::ledger::{Backoff, Capacity, Options};
use crate::store::journal::Durability;

/// A dish heavier than this is a typing error.
const PAYLOAD_MAX: usize = 1 << 30;

/// What a journal takes, with room for the rest of a dish.
const JOURNALED_PAYLOAD_MAX: usize = 999_000_000;

/// Where the dishes come from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// dish-1 to dish-N.
    MadeUp(u64),
    File(PathBuf),
    Stdin,
}

/// A run that can be.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) workers: usize,
    pub(super) mode: Mode,
    pub(super) source: Source,
    /// How many dishes the source has, where that is known.
    pub(super) total: Option<u64>,
    pub(super) wash: Duration,
    pub(super) dry: Duration,
    pub(super) payload: usize,
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
}

impl Config {
    /// An error names the option and says what is wrong with it.
    pub(super) fn validate(args: Args) -> Result<Self, String> {
        let workers = check(&args)?;
        let (source, total) = match args.input {
            None => {
                let count = args.dishes.unwrap_or(4);
                (Source::MadeUp(count), Some(count))
            }
            Some(path) if path.as_os_str() == "-" => (Source::Stdin, None),
            Some(path) => {
                let total = input::check(&path)?;
                (Source::File(path), total)
            }
        };
        let durability = match args.durability {
            Promise::Full => Durability::Full,
            Promise::Normal => Durability::Normal,
        };
        let dead_letters = args.dead_letters.map(|path| {
            let mut others: Vec<PathBuf> = args.journal.iter().cloned().collect();
            if let Source::File(input) = &source {
                others.push(input.clone());
            }
            obituaries::open(&path, &others).map(|file| (path, file))
        });
        let capacity = match args.capacity {
            _ if args.direct => Capacity::Rendezvous,
            0 => Capacity::Unbounded,
            bound => Capacity::Bounded(bound),
        };
        Ok(Config {
            workers: if args.mode == Mode::Sequential {
                1
            } else {
                workers
            },
            mode: args.mode,
            source,
            total,
            wash: args.wash,
            dry: args.dry,
            payload: args.payload,
            is_quiet: args.quiet,
            method: args.start_method,
            options: Options {
                capacity,
                max_attempts: args.max_attempts,
                backoff: Backoff::none(),
            },
            polls: !args.no_poll,
            timeout: args.timeout,
            shutdown: args.shutdown,
            max_restarts: args.max_restarts,
            max_seconds: args.max_seconds,
            format: args.format,
            progress: args.progress,
            journal: args.journal.map(|path| (path, durability)),
            dead_letters: dead_letters.transpose()?,
        })
    }
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
    if args.payload > payload_max {
        let payload = args.payload;
        return Err(format!("--payload {payload}: at most {payload_max} bytes"));
    }
    if args.timeout.is_some() && matches!(args.mode, Mode::Threads | Mode::Sequential) {
        let mode = args.mode.name();
        return Err(format!(
            "--timeout: what --mode {mode} works on cannot be ended; use processes or tasks"
        ));
    }
    if args.timeout == Some(Duration::ZERO) {
        return Err("--timeout 0: no time is too little for any dish".into());
    }
    Ok(workers)
}
