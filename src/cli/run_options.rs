//! The options of a run and of `supervisor work`, put together, as they are typed.

use clap::{Arg, Args};

use super::address::Address;
use super::args::{
    ArgumentArgs, ControlArgs, HabitArgs, ItemArgs, JobArgs, PlaceArgs, PoolArgs, PromiseArgs,
    ShownArgs, StreamArgs, of_run,
};
use super::kitchen::{DryArgs, WORK_WITHOUT_COMMAND, WashArgs};

/// The arguments of a run.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct RunArgs {
    // In the order of the help text.
    #[command(flatten)]
    pub(super) jobs: JobArgs,

    #[command(flatten)]
    pub(super) arguments: ArgumentArgs,

    #[command(flatten)]
    pub(super) made_here: WashArgs,

    #[command(flatten)]
    pub(super) items: ItemArgs,

    #[command(flatten)]
    pub(super) pool: PoolArgs,

    #[command(flatten)]
    pub(super) kitchen: DryArgs,

    #[command(flatten)]
    pub(super) shown: ShownArgs,

    #[command(flatten)]
    pub(super) habits: HabitArgs,

    #[command(flatten)]
    pub(super) place: PlaceArgs,

    #[command(flatten)]
    pub(super) control: ControlArgs,
}

/// Options of a run on putting items and on their order.
pub(super) const NOT_OF_WORK: [&str; 13] = [
    "keep_order",
    "delay",
    "dry_run",
    "arg_file",
    "delimiter",
    "max_args",
    "context",
    "many",
    "xargs",
    "max_chars",
    "link",
    "resume",
    "resume_failed",
];

/// Makes an option of `supervisor work` from one of a run: those that are not for it are hidden.
fn of_work(arg: Arg) -> Arg {
    const HELP: &str = "Run COMMAND for each item of the stream, with the item in place of {} or as \
                        the last argument; {.} is the item without extension, {/} its file name, \
                        {//} its folder, {/.} its file name without extension, {#} its number, {%} \
                        the worker's slot, {slot:NAME} what it has of --slot";
    of_run(arg, &NOT_OF_WORK, HELP)
}

/// The arguments of `supervisor work`.
#[derive(Debug, Args)]
#[command(after_help = work_help(), mut_args = of_work)]
pub(super) struct WorkArgs {
    #[command(flatten)]
    pub(super) stream: StreamArgs,

    #[command(flatten)]
    promise: PromiseArgs,

    /// End when everything on the stream has an end, rather than wait for more
    #[arg(long)]
    pub(super) until_done: bool,

    #[command(flatten)]
    pub(super) jobs: JobArgs,

    #[command(flatten)]
    pub(super) arguments: ArgumentArgs,

    #[command(flatten)]
    pub(super) pool: PoolArgs,

    #[command(flatten)]
    pub(super) kitchen: DryArgs,

    #[command(flatten)]
    pub(super) shown: ShownArgs,

    #[command(flatten)]
    pub(super) control: ControlArgs,
}

impl WorkArgs {
    /// Returns the stream's address.
    ///
    /// # Errors
    /// No address was given.
    pub(super) fn place(&self) -> Result<Address, String> {
        Ok(self.promise.of(self.stream.place("work")?))
    }
}

/// Returns what the help of `supervisor work` ends with.
fn work_help() -> String {
    format!(
        "\
The options are those of a run. {WORK_WITHOUT_COMMAND} The first signal lets what has
begun be finished, and gives the rest back to the stream at once; a second one stops at once.

Examples:
  supervisor work --redis redis://db1 -w 8 -- ./job {{}}
      runs a command for whatever is put on the stream, here and wherever else this is run
  supervisor work --redis redis://db1 --until-done -- ./job {{}}
      the same, and ends when everything on the stream has an end"
    )
}
