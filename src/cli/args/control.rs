//! The options about the control socket that a run serves, as they are typed.

use std::path::PathBuf;

use clap::Args;

use super::WebArgs;

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

    #[command(flatten)]
    pub(in crate::cli) page: WebArgs,
}
