//! When no process of a `--worker` command ever answers, the run ends, rather than giving up one
//! item after another.

use std::io;

use crate::cli::code;
use crate::cli::stop::{Manner, Stop};
use crate::cli::view::View;
use crate::jobs::persistent::NEVER_ANSWERED;
use crate::ledger::{Cause, Failure};
use crate::observe::{Event, What};

/// Counts processes in a row that never answered.
pub(super) struct Patience {
    most: u32,
    in_a_row: u32,
    stop: Stop,
}

impl Patience {
    /// More than `most` in a row are too many.
    pub(super) fn new(most: u32, stop: Stop) -> Self {
        Patience {
            most,
            in_a_row: 0,
            stop,
        }
    }

    fn note(&mut self, failure: &Failure) {
        match &failure.cause {
            Cause::Nack(why) if why.starts_with(NEVER_ANSWERED) => self.in_a_row += 1,
            _ => return,
        }
        if self.in_a_row == self.most.saturating_add(1) {
            let (count, cause) = (self.in_a_row, &failure.cause);
            let why = format!("no workers left ({count} times in a row: {cause})");
            self.stop.halt(Manner::AtOnce, why, code::NO_WORKERS_LEFT);
        }
    }
}

impl View for Patience {
    fn see(&mut self, event: &Event) -> io::Result<()> {
        match &event.what {
            What::ItemDone { .. } => self.in_a_row = 0,
            What::Retry { failure, .. } => self.note(failure),
            What::Dead { history, .. } => history.last().into_iter().for_each(|one| self.note(one)),
            _ => {}
        }
        Ok(())
    }
}
