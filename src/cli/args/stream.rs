//! The options that name a shared queue, as they are typed. The kinds of servers are a list in
//! `address`.

use std::time::Duration;

use clap::{Arg, ArgGroup, ArgMatches, Args, Command, FromArgMatches};

use super::{duration, groups};
use crate::cli::address::{Address, KINDS};
use crate::store::stream::StreamKind;
use crate::sys::title;

/// The default name of a stream.
const STREAM: &str = "dishrack";

/// The stream that a run puts its items on.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Options for a queue on Redis",
    group = ArgGroup::new(groups::PLACE).multiple(true)
)]
pub(in crate::cli) struct PlaceArgs {
    #[command(flatten)]
    url: UrlArgs<true>,

    /// The name of that stream [default: dishrack]
    #[arg(long, value_name = "NAME", group = groups::PLACE)]
    stream: Option<String>,

    #[command(flatten)]
    promise: PromiseArgs,
}

/// The address of a shared queue, and the kind of its server, by whose option it was typed: of a run,
/// or of a subcommand that is about a stream in any case.
#[derive(Debug, Clone)]
struct UrlArgs<const IS_OF_RUN: bool>(Option<Url>);

/// An address, and the kind of server that it is of.
type Url = (&'static StreamKind, String);

impl<const IS_OF_RUN: bool> Args for UrlArgs<IS_OF_RUN> {
    fn augment_args(command: Command) -> Command {
        let url = ArgGroup::new(groups::URL).args(KINDS.map(|kind| kind.option));
        let args = KINDS.map(|kind| {
            let (server, variable) = (kind.server, kind.variable);
            let arg = Arg::new(kind.option).long(kind.option).value_name("URL");
            match IS_OF_RUN {
                true => arg.group(groups::PLACE).help(format!(
                    "Share the queue by a stream in {server}: any free worker, here or on another \
                     machine, takes the items put there. {} [default: the variable {variable}, \
                     where a stream is named]",
                    kind.addresses
                )),
                false => arg.help(format!(
                    "The address of {server} [default: the variable {variable}]"
                )),
            }
        });
        command.args(args).group(url)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const IS_OF_RUN: bool> FromArgMatches for UrlArgs<IS_OF_RUN> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let typed = |kind: &'static StreamKind| {
            let url = matches.get_one::<String>(kind.option)?;
            Some((kind, url.clone()))
        };
        Ok(UrlArgs(KINDS.into_iter().find_map(typed)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
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
    #[command(flatten)]
    url: UrlArgs<false>,

    /// The name of the stream [default: dishrack]
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
}

impl PlaceArgs {
    /// Returns the stream's address, if the run shares one.
    pub(in crate::cli) fn place(&self) -> Option<Address> {
        // The variable alone does not make a run share its queue.
        let is_named = self.stream.is_some() || self.promise.is_given();
        let by_variable = || is_named.then(variable).flatten();
        let (kind, url) = self.url.0.clone().or_else(by_variable)?;
        let stream = self.stream.as_deref().unwrap_or(STREAM);
        let place = Address::new(kind, url, stream);
        hide("run", &place);
        Some(self.promise.of(place))
    }
}

impl PromiseArgs {
    fn is_given(&self) -> bool {
        self.typed().is_some()
    }

    /// Returns an option of them that was typed, if one was.
    pub(in crate::cli) fn typed(&self) -> Option<&'static str> {
        match (self.lease, self.replicas) {
            (Some(_), _) => Some("--lease"),
            (None, Some(_)) => Some("--replicas"),
            (None, None) => None,
        }
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
    /// No address was given.
    pub(in crate::cli) fn place(&self, subcommand: &str) -> Result<Address, String> {
        let (kind, url) = self.url().ok_or_else(|| {
            let variables = any(|kind| kind.variable.to_owned());
            let servers = any(|kind| kind.server.to_owned());
            let options = options();
            format!("{options} is needed, or the variable {variables}: where is {servers}?")
        })?;
        let stream = self.stream.as_deref().unwrap_or(STREAM);
        let place = Address::new(kind, url, stream);
        hide(subcommand, &place);
        Ok(place)
    }

    /// Returns `true` if an option says that a stream is meant.
    pub(in crate::cli) fn is_typed(&self) -> bool {
        self.url.0.is_some() || self.stream.is_some()
    }

    /// Returns the address, if one was given.
    pub(in crate::cli) fn url(&self) -> Option<Url> {
        self.url.0.clone().or_else(variable)
    }
}

/// Returns the first address in a variable.
pub(in crate::cli) fn variable() -> Option<Url> {
    let set = |kind: &'static StreamKind| {
        let url = std::env::var(kind.variable).ok();
        Some((kind, url.filter(|url| !url.is_empty())?))
    };
    KINDS.into_iter().find_map(set)
}

/// Returns this of each kind of server, for people.
fn any(name: impl Fn(&StreamKind) -> String) -> String {
    KINDS.map(name).join(" or ")
}

/// Returns the options for an address, for people.
pub(in crate::cli) fn options() -> String {
    any(|kind| format!("--{} URL", kind.option))
}

/// Returns the need of an option that makes no sense without an address, for people.
pub(in crate::cli) fn needed() -> String {
    let variables = any(|kind| kind.variable.to_owned());
    format!("{}, or the variable {variables}", options())
}

/// Makes `ps` show this in place of the arguments, which may contain the password.
fn hide(what: &str, place: &Address) {
    let (stream, url) = (&place.stream, place.shown_url());
    title::set_activity(&format_args!("{what}: stream {stream} at {url}"));
}
