//! The options that name a stream in Redis, as they are typed.

use std::time::Duration;

use clap::{ArgGroup, Args, Command};

use super::{JobArgs, PoolArgs, ShownArgs, duration, groups};
use crate::cli::address::Address;
use crate::sys::title;

/// The variable with the address of Redis, so that a password need not be on the command line.
const VARIABLE: &str = "REDIS_URL";

/// The reason why an option makes no sense without a Redis.
pub(super) const NEEDED: &str = "needs --redis URL, or the variable REDIS_URL";

/// The default name of a stream.
const STREAM: &str = "dishrack";

/// The stream that a run puts its items on.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Options for a queue on Redis",
    group = ArgGroup::new(groups::PLACE).multiple(true)
)]
pub(in crate::cli) struct PlaceArgs {
    /// Share the queue by a stream in Redis: any free worker, here or on another machine, takes the
    /// items put there. redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS, or
    /// redis+unix:///PATH [default: the variable REDIS_URL, where a stream is named]
    #[arg(long, value_name = "URL", group = groups::PLACE)]
    redis: Option<String>,

    /// The name of that stream [default: dishrack]
    #[arg(long, value_name = "NAME", group = groups::PLACE)]
    stream: Option<String>,

    #[command(flatten)]
    promise: PromiseArgs,
}

/// The promises asked for on the stream.
#[derive(Debug, Args)]
pub(in crate::cli) struct PromiseArgs {
    /// Give a supervisor's items to others when it was silent for this long; the same for all on
    /// the stream [default: the stream's, 30s for a new one]
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    lease: Option<Duration>,

    /// Count a put or an end only when so many replicas have it too [default: 0]
    #[arg(long, value_name = "N")]
    replicas: Option<u32>,
}

/// The stream that a subcommand is about.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct StreamArgs {
    /// The address of Redis [default: the variable REDIS_URL]
    #[arg(long, value_name = "URL")]
    pub(in crate::cli) redis: Option<String>,

    /// The name of the stream
    #[arg(long, value_name = "NAME", default_value = STREAM)]
    pub(in crate::cli) stream: String,
}

/// Makes `supervisor work` from the options of a run, without those on putting items and on order.
pub(in crate::cli) fn work(command: Command) -> Command {
    const HELP: &str = "Run COMMAND for each item of the stream, with the item in place of {} or as \
                        the last argument; {.} is the item without extension, {/} its file name, \
                        {//} its folder, {/.} its file name without extension, {#} its number, {%} \
                        the worker's slot";
    let hidden = ["keep_order", "delay", "dry_run"];
    let command = command.mut_arg("command", |arg| arg.help(HELP).long_help(HELP));
    hidden.into_iter().fold(command, |command, name| {
        command.mut_arg(name, |arg| arg.hide(true))
    })
}

/// The arguments of `supervisor work`.
#[derive(Debug, Args)]
#[command(after_help = "\
The options are those of a run. Without a COMMAND it dries dishes. The first signal lets what has
begun be finished, and gives the rest back to the stream at once; a second one stops at once.

Examples:
  supervisor work --redis redis://db1 -w 8 -- ./job {}
      runs a command for whatever is put on the stream, here and wherever else this is run
  supervisor work --redis redis://db1 --until-done -- ./job {}
      the same, and ends when everything on the stream has an end")]
pub(in crate::cli) struct WorkArgs {
    #[command(flatten)]
    pub(in crate::cli) stream: StreamArgs,

    #[command(flatten)]
    promise: PromiseArgs,

    /// End when everything on the stream has an end, rather than wait for more
    #[arg(long)]
    pub(in crate::cli) until_done: bool,

    #[command(flatten)]
    pub(in crate::cli) jobs: JobArgs,

    #[command(flatten)]
    pub(in crate::cli) pool: PoolArgs,

    #[command(flatten)]
    pub(in crate::cli) shown: ShownArgs,
}

impl PlaceArgs {
    /// Returns the stream's address, if the run shares one.
    pub(in crate::cli) fn place(&self) -> Option<Address> {
        // The variable alone does not make a run share its queue.
        let is_named = self.stream.is_some() || self.promise.is_given();
        let by_variable = || is_named.then(variable).flatten();
        let url = self.redis.clone().or_else(by_variable)?;
        let stream = self.stream.as_deref().unwrap_or(STREAM);
        let place = Address::new(url, stream);
        hide("run", &place);
        Some(self.promise.of(place))
    }
}

impl PromiseArgs {
    fn is_given(&self) -> bool {
        self.lease.is_some() || self.replicas.is_some()
    }

    /// Returns the address with these promises.
    pub(in crate::cli) fn of(&self, place: Address) -> Address {
        place.promising(self.lease, self.replicas.unwrap_or(0))
    }
}

impl StreamArgs {
    /// Returns the stream's address for this subcommand.
    ///
    /// # Errors
    /// No address of Redis was given.
    pub(in crate::cli) fn place(&self, subcommand: &str) -> Result<Address, String> {
        let url = self.url().ok_or_else(|| {
            format!("--redis URL is needed, or the variable {VARIABLE}: where is Redis?")
        })?;
        let place = Address::new(url, &self.stream);
        hide(subcommand, &place);
        Ok(place)
    }

    /// Returns the address of Redis, if one was given.
    pub(in crate::cli) fn url(&self) -> Option<String> {
        self.redis.clone().or_else(variable)
    }
}

pub(super) fn variable() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|url| !url.is_empty())
}

/// Makes `ps` show this in place of the arguments, which may contain the password.
fn hide(what: &str, place: &Address) {
    let (stream, url) = (&place.stream, place.shown_url());
    title::set_activity(&format_args!("{what}: stream {stream} at {url}"));
}

impl WorkArgs {
    /// Returns the stream's address.
    ///
    /// # Errors
    /// No address of Redis was given.
    pub(in crate::cli) fn place(&self) -> Result<Address, String> {
        Ok(self.promise.of(self.stream.place("work")?))
    }
}
