//! Ends the run when no process of a `--worker` command ever answers, because otherwise one item
//! after another would become a dead letter.

use std::io;

use crate::cli::exit_codes::code;
use crate::cli::stop::{Manner, Stop};
use crate::cli::view::View;
use crate::observe::{Event, EventKind};
use crate::{Cause, Failure};

/// Counts processes that never answered, while none ever has.
pub(super) struct Unanswered {
    most: u32,
    /// `None` once one has answered, because the items are at fault then.
    ended: Option<u32>,
    stop: Stop,
}

impl Unanswered {
    /// Makes a counter that halts the run after more than `most` processes.
    pub(super) fn new(most: u32, stop: Stop) -> Self {
        Unanswered {
            most,
            ended: Some(0),
            stop,
        }
    }

    fn note(&mut self, failure: &Failure) {
        let Some(ended) = &mut self.ended else {
            return;
        };
        match &failure.cause {
            Cause::Unanswered {
                has_answered: false,
                ..
            } => *ended += 1,
            // A process has answered, or could not be started, which is reported elsewhere.
            Cause::Unanswered {
                has_answered: true, ..
            }
            | Cause::CommandFailed { .. }
            | Cause::Nack(_) => self.ended = None,
            _ => {}
        }
        if self.ended == Some(self.most.saturating_add(1)) {
            let (count, cause) = (self.most.saturating_add(1), &failure.cause);
            let why = format!("no workers left ({count} times: {cause})");
            self.stop.halt(Manner::AtOnce, why, code::NO_WORKERS_LEFT);
        }
    }
}

impl View for Unanswered {
    fn see(&mut self, event: &Event) -> io::Result<()> {
        match &event.kind {
            EventKind::ItemDone { .. } => self.ended = None,
            EventKind::Retry { failure, .. } => self.note(failure),
            EventKind::Dead { history, .. } => {
                history.last().into_iter().for_each(|one| self.note(one))
            }
            _ => {}
        }
        Ok(())
    }
}
