//! `supervisor salvage`: a new journal of what can be read of a damaged one.

use std::path::PathBuf;

use clap::Args;

use super::exit_codes::{RunError, code};
use super::screen;
use crate::{Saved, salvage};

#[derive(Debug, Args)]
pub(super) struct Salvage {
    /// The damaged journal; it stays as it is
    #[arg(long, value_name = "FILE")]
    journal: PathBuf,
    /// The new journal
    #[arg(long, value_name = "NEW")]
    into: PathBuf,
}

/// Saves all readable items. The exit code says whether that was all.
pub(super) fn run(command: &Salvage) -> Result<u8, RunError> {
    let saved = salvage(&command.journal, &command.into)?;
    let Saved {
        unfinished,
        dead,
        done,
        lost,
        rows_lost,
        incomplete,
    } = saved;
    let into = command.into.display();
    screen::complain(&format_args!(
        "{into}: saved {unfinished} unfinished items and {dead} dead letters; {done} are done"
    ));
    if !incomplete.is_empty() {
        let incomplete = incomplete.join(", ");
        screen::complain(&format_args!("not all is there of: {incomplete}"));
    }
    if lost == 0 && rows_lost == 0 {
        return Ok(match incomplete.is_empty() {
            true => code::DONE,
            false => code::DEAD_LETTERS,
        });
    }
    screen::complain(&format_args!(
        "{rows_lost} rows could not be read; of {lost} items nothing is known: they count as dead, \
         and the same input brings them again"
    ));
    Ok(code::DEAD_LETTERS)
}
