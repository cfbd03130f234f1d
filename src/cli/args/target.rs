//! The options by which a subcommand is told which run or stream it is about, as they are typed.

use std::ffi::OsString;

use clap::Args;

use super::StreamArgs;
use crate::cli::address::Address;

/// Where a run is to be asked.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct AtArgs {
    /// The run: its name, its socket's path, or its process [default: the only one]
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
        match (&self.run.at, self.stream.is_typed(), self.stream.url()) {
            (Some(_), true, _) => Err("--at names a run, and --redis or --stream a stream: which \
                                       of the two?"
                .into()),
            (None, _, Some(_)) | (None, true, None) => {
                Ok(Choice::Stream(self.stream.place(subcommand)?))
            }
            (Some(_), false, _) | (None, false, None) => Ok(Choice::Run(self.run.clone())),
        }
    }
}
