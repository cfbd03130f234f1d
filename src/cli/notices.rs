//! Prints a stream's notices on stderr for commands without any other display.

use std::sync::Arc;

use super::exit_codes::RunError;
use super::screen;
use crate::JoinableQueue;
use crate::observe::{Event, EventKind, Observer};

/// Prints notices, and nothing else.
#[derive(Debug)]
pub(super) struct Notices;

impl Notices {
    /// Prints those of this queue.
    pub(super) fn of<T>(queue: &JoinableQueue<T>) -> Result<(), RunError> {
        Ok(queue.set_observer(Arc::new(Notices))?)
    }
}

impl Observer for Notices {
    fn wants_items(&self) -> bool {
        false
    }

    fn observe(&self, event: Event) {
        if let EventKind::Notice { why } = event.kind {
            screen::complain(&why);
        }
    }
}
