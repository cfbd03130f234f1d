//! The options about the control socket: of a run that serves one, and of a subcommand that asks a
//! run or a stream, as they are typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::StreamArgs;
use crate::cli::address::Address;

/// The socket of a run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for being asked and steered from outside")]
pub(in crate::cli) struct ControlArgs {
    /// The name of this run, by which `--at NAME` finds it [default: run- and its process]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) name: Option<String>,

    /// Serve the control API on a socket of this path, rather than in the user's folder of sockets
    #[arg(long, value_name = "PATH", conflicts_with = "name")]
    pub(in crate::cli) control: Option<PathBuf>,

    /// Serve no control API
    #[arg(long, conflicts_with_all = ["name", "control"])]
    pub(in crate::cli) no_control: bool,
}

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

/// What a subcommand is about.
#[derive(Debug)]
pub(in crate::cli) enum Target {
    /// The run, as it was named.
    Run(AtArgs),
    Stream(Address),
}

impl TargetArgs {
    /// Returns what is meant: the run that was named, or the stream, or else the only run.
    ///
    /// # Errors
    /// Both were named.
    pub(in crate::cli) fn target(&self, subcommand: &str) -> Result<Target, String> {
        match (&self.run.at, self.stream.is_typed(), self.stream.url()) {
            (Some(_), true, _) => Err("--at names a run, and --redis or --stream a stream: which \
                                       of the two?"
                .into()),
            (None, _, Some(_)) | (None, true, None) => {
                Ok(Target::Stream(self.stream.place(subcommand)?))
            }
            (Some(_), false, _) | (None, false, None) => Ok(Target::Run(self.run.clone())),
        }
    }
}
