//! What the options mean together, checked before anything is started.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use super::args::{Args, Format, Method, Mode, Promise};
use super::output::Output;
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
    pub(super) journal: Option<(PathBuf, Durability)>,
    pub(super) dead_letters: Option<(PathBuf, File)>,
    pub(super) timeline: Option<Output>,
    pub(super) trace: Option<Output>,
}

impl Config {
    /// An error names the option and says what is wrong with it.
    pub(super) fn validate(args: Args) -> Result<Self, String> {
        let workers = check(&args)?;
        let source = match args.input {
            None => Source::MadeUp(args.dishes.unwrap_or(4)),
            Some(path) if path.as_os_str() == "-" => Source::Stdin,
            Some(path) => {
                input::check(&path)?;
                Source::File(path)
            }
        };
        let durability = match args.durability {
            Promise::Full => Durability::Full,
            Promise::Normal => Durability::Normal,
        };
        // No file is used twice.
        let mut taken: Vec<PathBuf> = args.journal.iter().cloned().collect();
        if let Source::File(input) = &source {
            taken.push(input.clone());
        }
        let dead_letters = match args.dead_letters {
            None => None,
            Some(path) => {
                let file = obituaries::open(&path, &taken)?;
                taken.push(path.clone());
                Some((path, file))
            }
        };
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
            journal: args.journal.map(|path| (path, durability)),
            dead_letters,
            timeline: Output::open("--timeline", args.timeline, &mut taken)?,
            trace: Output::open("--trace", args.trace, &mut taken)?,
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
