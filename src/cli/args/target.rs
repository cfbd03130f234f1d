//! The options by which a subcommand is told which run or stream it is about, as they are typed.

use std::ffi::OsString;

use clap::Args;

use super::StreamArgs;
use crate::cli::address::Address;

/// Where a run is to be asked.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct AtArgs {
    /// The run: its name, its socket's path, or its process [default: the only one]. With --redis, of a
    /// subcommand that can be about one, the supervisor: its name, its run's name, or its process
    /// [default: all]
    #[arg(long, value_name = "NAME|PATH|PID")]
    pub(in crate::cli) at: Option<OsString>,
}

/// A run, or a stream that several share.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct TargetArgs {
    #[command(flatten)]
    pub(in crate::cli) run: AtArgs,

    #[command(flatten)]
    stream: StreamArgs,
}

/// A run or a stream that a subcommand is about.
#[derive(Debug, Clone)]
pub(in crate::cli) enum Choice {
    /// The run, as it was named.
    Run(AtArgs),
    Stream(Address),
}

impl TargetArgs {
    /// Returns what is meant: the run that was named, or the stream, or else the only run.
    ///
    /// # Errors
    /// Both were named.
    pub(in crate::cli) fn target(&self, subcommand: &str) -> Result<Choice, String> {
        match self.target_or_one(subcommand)? {
            (choice, None) => Ok(choice),
            (_, Some(_)) => Err(format!(
                "{subcommand} is about all of a stream, or of a run: --at names one of those that work \
                 on the stream, which is for scale, pause, resume, reload, stop and status. Leave out \
                 --at, or --redis and --stream"
            )),
        }
    }

    /// Does the same for a subcommand that can be about one supervisor of a stream, and returns the word
    /// for that, too.
    pub(in crate::cli) fn target_or_one(
        &self,
        subcommand: &str,
    ) -> Result<(Choice, Option<String>), String> {
        match (&self.run.at, self.stream.is_typed(), self.stream.url()) {
            (at, true, _) | (at @ None, false, Some(_)) => {
                let one = at.as_ref().map(|at| at.to_string_lossy().into_owned());
                Ok((Choice::Stream(self.stream.place(subcommand)?), one))
            }
            (Some(_), false, _) | (None, false, None) => Ok((Choice::Run(self.run.clone()), None)),
        }
    }
}
