//! The options about the workers, and about what is shown of the run, as they are typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::copies::CopyArgs;
use super::limits::LimitArgs;
use super::{Format, Method, Mode, Show, decimal, duration, size};
use crate::{AdmissionRules, Builder, IoPriority, StartMethod};

#[derive(Debug, Args)]
#[command(next_help_heading = "Options for workers and attempts")]
pub(in crate::cli) struct PoolArgs {
    /// Workers: a number, or P% of the processors, or +N or -N for so many more or fewer than there
    /// are processors [default: number of CPUs, or of slots where those are more, up to 4 for each CPU]
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = workers,
        allow_negative_numbers = true,
        visible_short_aliases = ['j', 'P'],
        visible_aliases = ["jobs", "max-procs"]
    )]
    pub(in crate::cli) workers: Option<usize>,

    /// The kind of the workers; a COMMAND needs processes
    #[arg(long, value_enum, default_value = "processes")]
    pub(in crate::cli) mode: Mode,

    /// The way to make worker processes: execute each anew, or fork it from a fork server
    #[arg(long, value_enum, default_value = "spawn")]
    pub(in crate::cli) start_method: Method,

    /// Sleep at once when there is nothing to do, rather than poll for 20 microseconds first:
    /// workers take longer to notice an item, and leave the processors to others meanwhile
    #[arg(long)]
    pub(in crate::cli) no_poll: bool,

    /// Attempts that may fail before an item is given up on [default: 1 for a COMMAND, else
    /// 3]. An attempt of a COMMAND fails if it exits with another code than 0, overruns
    /// --timeout or crashes. It is lost if the death of its worker, a signal from outside, or a
    /// lack of memory or of room for its output ended it: then it is repeated besides, until 3 (or
    /// N, if that is more) were lost; a command of `supervisor add` is not, and has failed. An item that
    /// cannot be begun for lack of processes, files, memory or room waits, and one that a stop of this
    /// run ends is left as it was; neither counts
    #[arg(
        long,
        value_name = "N",
        value_parser = attempts,
        visible_alias = "retries"
    )]
    pub(in crate::cli) max_attempts: Option<u32>,

    /// Rest before the next attempt: half of this to all of it, then twice as long, and so on up to
    /// a minute [default: none]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub(in crate::cli) backoff: Option<Duration>,

    /// Time for one item: a worker that takes longer, and all that it has started, gets SIGTERM and
    /// a second later SIGKILL, and that is a failed attempt [default: none]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub(in crate::cli) timeout: Option<Duration>,

    /// Memory for one item: a worker that has more, with all that it has started, is killed. That is a
    /// lost attempt, and the next one, if it has one, is made alone, without any other item beside it.
    /// 400M is 400 MiB
    /// [default: none]
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true)]
    pub(in crate::cli) memory: Option<u64>,

    /// Begin nothing while less memory than this is free, on the machine and in this run's control
    /// group; what has begun less than two seconds ago is taken to need as much. One item runs in
    /// any case, as with --load and --pressure
    #[arg(long, value_name = "SIZE", value_parser = size, allow_hyphen_values = true, visible_alias = "memfree")]
    pub(in crate::cli) memory_free: Option<u64>,

    /// Begin nothing while so many threads on the machine run or are ready to; P% is for so many of
    /// each 100 processors
    #[arg(long, value_name = "N|P%", value_parser = load, allow_hyphen_values = true)]
    pub(in crate::cli) load: Option<u32>,

    /// Begin nothing while something on the machine waits for a processor, memory or a disk for so
    /// much of the time, by the kernel's PSI over the last 10 seconds
    #[arg(long, value_name = "P%", value_parser = percent, allow_hyphen_values = true)]
    pub(in crate::cli) pressure: Option<u32>,

    /// The niceness of the workers and their commands, -20 to 19
    #[arg(long, value_name = "N", value_parser = niceness, allow_hyphen_values = true)]
    pub(in crate::cli) nice: Option<i32>,

    /// The priority of the workers and their commands for disks: realtime, best-effort or idle, and
    /// a level from 0 to 7
    #[arg(long, value_name = "CLASS[:N]", value_parser = io_priority)]
    pub(in crate::cli) ionice: Option<IoPriority>,

    /// Time for finishing what has begun when stopped. All is over within a second or so after it
    #[arg(long, value_name = "DUR", default_value = "8s", value_parser = duration, allow_hyphen_values = true)]
    pub(in crate::cli) shutdown: Duration,

    /// Give a worker up after more restarts than this within --max-seconds; deaths while it has an
    /// item do not count, the item is charged with them
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(in crate::cli) max_restarts: u32,

    /// The period of --max-restarts
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, allow_hyphen_values = true)]
    pub(in crate::cli) max_seconds: Duration,

    #[command(flatten)]
    pub(in crate::cli) copies: CopyArgs,

    #[command(flatten)]
    pub(in crate::cli) limits: LimitArgs,
}

impl PoolArgs {
    /// Has a pool keep to these options.
    pub(in crate::cli) fn apply(&self, pool: Builder) -> Builder {
        // All are named, so that a new one cannot be forgotten.
        let PoolArgs {
            shutdown,
            max_restarts,
            max_seconds,
            start_method,
            timeout,
            memory,
            memory_free,
            load,
            pressure,
            nice,
            ionice,
            no_poll,
            // These make the pool, or the queue.
            workers: _,
            mode: _,
            max_attempts: _,
            backoff: _,
            copies: _,
            limits,
        } = self;
        let mut pool = pool
            .shutdown(*shutdown)
            .intensity(*max_restarts, *max_seconds)
            .start_method(match start_method {
                Method::Spawn => StartMethod::Spawn,
                Method::Fork => StartMethod::Fork,
            });
        if let Some(limit) = *timeout {
            pool = pool.time_limit(limit);
        }
        if let Some(bytes) = *memory {
            pool = pool.memory_limit(bytes);
        }
        let mut rules = AdmissionRules::default();
        (rules.memory_free, rules.load, rules.pressure) = (*memory_free, *load, *pressure);
        if rules != AdmissionRules::default() {
            pool = pool.admission(rules);
        }
        if let Some(niceness) = *nice {
            pool = pool.nice(niceness);
        }
        if let Some(priority) = *ionice {
            pool = pool.io_priority(priority);
        }
        if let Some(rate) = limits.rate() {
            pool = pool.rate(rate);
        }
        if *no_poll {
            pool = pool.without_polling();
        }
        pool
    }
}

/// Reads a number of workers: as it is, or as a percentage of the processors, or so many more or fewer.
fn workers(text: &str) -> Result<usize, String> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let expected =
        |_| "expected a number, a percentage of the processors such as 50%, or +N or -N".to_owned();
    // A sign of its own is no part of a number.
    let number = |digits: &str| match digits.starts_with(['+', '-']) {
        true => "".parse(),
        false => digits.parse::<usize>(),
    };
    if let Some(percent) = text.strip_suffix('%') {
        let percent = number(percent).map_err(expected)?;
        return Ok(cpus.saturating_mul(percent).div_euclid(100).max(1));
    }
    match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(more), _) => Ok(cpus.saturating_add(number(more).map_err(expected)?)),
        (_, Some(fewer)) => Ok(cpus.saturating_sub(number(fewer).map_err(expected)?).max(1)),
        (None, None) => number(text).map_err(expected),
    }
}

/// Reads a number of attempts.
fn attempts(text: &str) -> Result<u32, String> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "expected how often an item is tried: 1 is once, and not again".into())
}

fn niceness(text: &str) -> Result<i32, String> {
    let nice = text.parse().ok().filter(|nice| (-20..=19).contains(nice));
    nice.ok_or_else(|| "expected a number from -20, which goes first, to 19".into())
}

/// Reads a number of threads, or a percentage of the processors.
fn load(text: &str) -> Result<u32, String> {
    let Some(_) = text.strip_suffix('%') else {
        let threads = decimal(text).filter(|threads| *threads <= f64::from(u32::MAX));
        // As many run as are more than a part of one.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is in the range"
        )]
        return threads
            .map(|threads| threads.ceil() as u32)
            .ok_or_else(|| "expected a number of threads, or a percentage such as 100%".into());
    };
    let percent = percentage(text, 100_000)?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
    Ok(cpus.saturating_mul(percent).div_ceil(100))
}

fn percent(text: &str) -> Result<u32, String> {
    percentage(text, 100)
}

fn percentage(text: &str, most: u32) -> Result<u32, String> {
    let number = text
        .strip_suffix('%')
        .and_then(|number| number.parse().ok());
    let number = number.filter(|percent| *percent <= most);
    number.ok_or_else(|| format!("expected a percentage up to {most}%, such as 10%"))
}

/// Reads the class and level of a priority for disks, as `ionice` has them.
fn io_priority(text: &str) -> Result<IoPriority, String> {
    let (class, level) = text.split_once(':').unwrap_or((text, "4"));
    let level = level
        .parse()
        .ok()
        .filter(|level| *level <= IoPriority::LEVEL_MAX);
    match (class, level) {
        ("realtime" | "1", Some(level)) => Ok(IoPriority::Realtime(level)),
        ("best-effort" | "2", Some(level)) => Ok(IoPriority::BestEffort(level)),
        ("idle" | "3", _) if class == text => Ok(IoPriority::Idle),
        _ => {
            Err("expected realtime, best-effort or idle, and :0 to :7 behind the first two".into())
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options for what is shown")]
pub(in crate::cli) struct ShownArgs {
    /// No line (or event) per item; failures and the summary at the end stay
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,

    /// No summary at the end: with it and -q only failures are told
    #[arg(long)]
    pub(in crate::cli) no_summary: bool,

    /// Add a line of JSON to this file for each item that is given up on here
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) dead_letters: Option<PathBuf>,

    /// Draw the run as a time chart into this SVG file: who worked on what, and what died when
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) timeline: Option<PathBuf>,

    /// Write the run as a Chrome trace into this JSON file, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) trace: Option<PathBuf>,

    /// Send a span for each attempt and each put to this OpenTelemetry collector by OTLP over HTTP,
    /// such as http://127.0.0.1:4318 (in builds with the feature `otlp`)
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) otlp: Option<String>,

    /// The form of the output: lines, or one JSON event a line
    #[arg(long, value_enum, default_value = "text")]
    pub(in crate::cli) format: Format,

    /// Show the progress on stderr: bars if it is a terminal, or a JSON object about once a second;
    /// auto: bars if nothing else is displayed on the same terminal
    #[arg(long, value_enum, default_value = "auto")]
    pub(in crate::cli) progress: Show,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_for_disks_are_those_of_ionice() {
        for (text, priority) in [
            ("idle", IoPriority::Idle),
            ("3", IoPriority::Idle),
            ("best-effort", IoPriority::BestEffort(4)),
            ("best-effort:7", IoPriority::BestEffort(7)),
            ("1:0", IoPriority::Realtime(0)),
        ] {
            assert_eq!(io_priority(text), Ok(priority), "{text}");
        }
        for text in ["", "idle:3", "best-effort:8", "best-effort:", "none", "4:1"] {
            assert!(io_priority(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_of_workers_may_be_one_of_the_processors() {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        for (text, count) in [
            ("7", 7),
            ("0", 0),
            ("100%", cpus),
            ("200%", 2 * cpus),
            ("1%", 1),
            ("+3", cpus + 3),
            ("-1", cpus.saturating_sub(1).max(1)),
            ("-100000", 1),
        ] {
            assert_eq!(workers(text), Ok(count), "{text}");
        }
        for text in [
            "", "%", "+", "-", "++1", "+-1", "1.5", "x", "-1%", "procfile",
        ] {
            assert!(workers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_load_is_a_number_or_a_part_of_the_processors() {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!((load("7"), load("2.5")), (Ok(7), Ok(3)));
        assert_eq!(load("100%").map(|load| load as usize), Ok(cpus));
        assert_eq!(load("1%"), Ok(u32::try_from(cpus.div_ceil(100)).unwrap()));
        for text in ["", "%", "-1", ".", "9999999999", "200000%", "x%"] {
            assert!(load(text).is_err(), "{text}");
        }
        assert_eq!(percent("10%"), Ok(10));
        assert!(percent("101%").is_err() && percent("10").is_err());
    }
}
