//! What happens between here and a stream, told on stderr where nothing else is shown.

use std::sync::Arc;

use super::exit_codes::Failure;
use super::screen;
use crate::observe::{Event, EventKind, Observer};
use crate::queue::JoinableQueue;

/// Tells notices, and nothing else.
#[derive(Debug)]
pub(super) struct Notices;

impl Notices {
    /// Tells those of this queue.
    pub(super) fn of<T>(queue: &JoinableQueue<T>) -> Result<(), Failure> {
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
