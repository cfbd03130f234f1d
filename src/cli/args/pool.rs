//! The options about the workers, and about what is shown of the run, as they are typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::copies::CopyArgs;
use super::{Format, Method, Mode, Show, duration, size};
use crate::{Builder, StartMethod};

#[derive(Debug, Args)]
#[command(next_help_heading = "Options for workers and attempts")]
pub(in crate::cli) struct PoolArgs {
    /// Workers [default: number of CPUs]
    #[arg(short, long, value_name = "N")]
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
    /// N, if that is more) were lost. An item that cannot be begun for lack of processes, files,
    /// memory or room waits, and one that a stop of this run ends is left as it was; neither counts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(in crate::cli) max_attempts: Option<u32>,

    /// Rest before the next attempt: half of this to all of it, then twice as long, and so on up to
    /// a minute [default: none]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub(in crate::cli) backoff: Option<Duration>,

    /// Time for one item: a worker that takes longer, and all that it has started, gets SIGTERM and
    /// a second later SIGKILL, and that is a failed attempt [default: none]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub(in crate::cli) timeout: Option<Duration>,

    /// Memory for one item: a worker that has more, with all that it has started, is killed, and that
    /// is a lost attempt. 400M is 400 MiB [default: none]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(in crate::cli) memory: Option<u64>,

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
            no_poll,
            // These make the pool, or the queue.
            workers: _,
            mode: _,
            max_attempts: _,
            backoff: _,
            copies: _,
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
        if *no_poll {
            pool = pool.without_polling();
        }
        pool
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
