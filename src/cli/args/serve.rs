//! The options of `supervisor serve`, as they are typed.

use std::path::PathBuf;

use clap::{Arg, Args};

use super::{ArgumentArgs, ControlArgs, JobArgs, PoolArgs, Promise, ShownArgs, of_run};

/// The name of a served queue, if it is given none.
pub(in crate::cli) const SERVED: &str = "serve";

/// Options of a run that make no sense for a queue that stays, or for items that come one by one.
pub(in crate::cli) const NOT_FOR_IT: [&str; 27] = [
    "agree",
    "arg_file",
    "context",
    "copies",
    "delay",
    "delimiter",
    "dry_run",
    "halt",
    "hedge_after",
    "hedge_pressing",
    "joblog",
    "keep_order",
    "line_buffer",
    "link",
    "many",
    "max_args",
    "max_chars",
    "mode",
    "no_control",
    "null",
    "results",
    "resume",
    "resume_failed",
    "tag",
    "timeline",
    "trace",
    "xargs",
];

/// Makes an option of `supervisor serve` from one of a run: those that are not for it are hidden.
fn of_serve(arg: Arg) -> Arg {
    const HELP: &str = "Run COMMAND for each item, with the item in place of {} or as the last \
                        argument; {.} is the item without extension, {/} its file name, {//} its \
                        folder, {/.} its file name without extension, {#} its number, {%} the \
                        worker's slot, {slot:NAME} what it has of --slot. Without COMMAND each item is a command of its own";
    of_run(arg, &NOT_FOR_IT, HELP)
}

/// The arguments of `supervisor serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "\
The queue stays when it is empty, and ends by `supervisor stop` or a signal: then what has begun is
finished, within --shutdown, and the exit code is 0. The next one with the same journal goes on. One
that is killed leaves what it had begun: that is lost, and is run again only if --max-attempts allows
it. The output of items is not shown here, but by `supervisor logs`.

Examples:
  supervisor serve
      works on what `supervisor add` adds, on each processor a command at a time
  supervisor serve --name images -w 2 -- ./thumbnail {}
      a COMMAND for whatever `supervisor put --at images` puts, two at a time",
    mut_args = of_serve
)]
pub(in crate::cli) struct ServeArgs {
    /// Keep the queue in this journal [default: dishrack/NAME.journal in $XDG_STATE_HOME, or in
    /// ~/.local/state]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) journal: Option<PathBuf>,

    /// The failure that the journal survives: a power failure (every commit is synced), or a kill
    /// of any process
    #[arg(long, value_enum, default_value = "full")]
    pub(in crate::cli) durability: Promise,

    /// Be in a session of its own, say on stdout when it can be asked, and write to stderr from then on
    #[arg(long = "in-a-session-of-its-own", hide = true)]
    pub(in crate::cli) detached: bool,

    #[command(flatten)]
    pub(in crate::cli) jobs: JobArgs,

    #[command(flatten)]
    pub(in crate::cli) arguments: ArgumentArgs,

    #[command(flatten)]
    pub(in crate::cli) pool: PoolArgs,

    #[command(flatten)]
    pub(in crate::cli) shown: ShownArgs,

    #[command(flatten)]
    pub(in crate::cli) control: ControlArgs,
}

impl ServeArgs {
    /// Returns the name of the queue.
    pub(in crate::cli) fn name(&self) -> &str {
        self.control.name.as_deref().unwrap_or(SERVED)
    }
}

/// Returns the first option that was typed and is not for a queue that stays.
pub(in crate::cli) fn wrong_option(is_typed: impl Fn(&str) -> bool) -> Option<&'static str> {
    NOT_FOR_IT.into_iter().find(|name| is_typed(name))
}
