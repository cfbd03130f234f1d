//! Options that xargs and GNU parallel have and that change little or nothing here, as they are typed.

use clap::Args;

use super::Show;

#[derive(Debug, Args)]
#[command(next_help_heading = "Options for what is shown")]
pub(in crate::cli) struct HabitArgs {
    /// The same as --progress bar
    #[arg(long, visible_alias = "eta")]
    bar: bool,

    /// Nothing is run without an item anyway
    #[arg(short = 'r', long, hide = true)]
    no_run_if_empty: bool,

    /// Output comes item by item anyway
    #[arg(long, hide = true)]
    group: bool,

    /// It asks for what parallel does in any case
    #[arg(long, hide = true)]
    gnu: bool,

    /// No notice is shown anyway
    #[arg(long, hide = true)]
    will_cite: bool,
}

impl HabitArgs {
    /// Returns how the progress is shown, where `shown` was asked for besides.
    pub(in crate::cli) fn progress(&self, shown: Show) -> Show {
        match self.bar {
            true => Show::Bar,
            false => shown,
        }
    }
}
