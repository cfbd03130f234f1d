//! Prints a stream's notices on stderr for commands without any other display, and shows puts to a view, if
//! there is one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use parking_lot::Mutex;

use super::exit_codes::RunError;
use super::screen;
use super::stop::Stop;
use super::view::View;
use crate::JoinableQueue;
use crate::observe::{Event, EventKind, Observer};
use crate::sys::threads::spawn;

/// The time that the view has for its end after a signal.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Prints notices, and shows nothing else but puts.
pub(super) struct Notices {
    /// `None` without a view, and after its end.
    puts: Mutex<Option<Box<dyn View>>>,
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}

impl Notices {
    /// Prints those of this queue.
    pub(super) fn of<T>(queue: &JoinableQueue<T>) -> Result<(), RunError> {
        Notices::with_puts(queue, None).map(drop)
    }

    /// Prints those of this queue, and shows its puts to the view. That must not wait for anything.
    pub(super) fn with_puts<T>(
        queue: &JoinableQueue<T>,
        puts: Option<Box<dyn View>>,
    ) -> Result<Arc<Self>, RunError> {
        let notices = Arc::new(Notices {
            puts: Mutex::new(puts),
        });
        queue.set_observer(notices.clone())?;
        Ok(notices)
    }

    /// Ends the view, and waits for that; after a signal for a moment only.
    pub(super) fn end(&self, stop: &Stop) {
        let Some(mut puts) = self.puts.lock().take() else {
            return;
        };
        let (ending, ended) = bounded::<()>(0);
        let end = move || {
            // It says by itself what it could not do.
            let _ = puts.end();
            drop(ending);
        };
        if spawn("puts", end).is_ok() {
            stop.wait_for(&ended, LAST_WORDS);
        }
    }
}

impl Observer for Notices {
    fn wants_items(&self) -> bool {
        false
    }

    fn wants_puts(&self) -> bool {
        self.puts.lock().is_some()
    }

    fn observe(&self, event: Event) {
        match &event.kind {
            EventKind::Notice { why } => screen::complain(why),
            EventKind::Put { .. } => {
                if let Some(puts) = &mut *self.puts.lock() {
                    // It says by itself what it could not do.
                    let _ = puts.see(&event);
                }
            }
            _ => {}
        }
    }
}
