//! The options about the items of a run, their source and their journal, as they are typed.

use std::path::PathBuf;

use clap::Args;

use super::Promise;

#[derive(Debug, Args)]
#[command(next_help_heading = "Options for items and where they are kept")]
pub(in crate::cli) struct ItemArgs {
    /// Take the items from this file, one a line; - is stdin, the default for a COMMAND
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) input: Option<PathBuf>,

    /// Items on the queue before more are read or made; 0 for no bound
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(in crate::cli) capacity: usize,

    /// Hand each item directly to an idle worker: no queue
    #[arg(long, conflicts_with = "capacity")]
    pub(in crate::cli) direct: bool,

    /// Keep a journal in this file, and go on where it stopped: what is done is not done again, and
    /// items of the same text are not put again
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) journal: Option<PathBuf>,

    /// The failure that the journal survives: a power failure (every commit is synced), or a kill
    /// of any process
    #[arg(long, value_enum, default_value = "full", requires = "journal")]
    pub(in crate::cli) durability: Promise,
}
