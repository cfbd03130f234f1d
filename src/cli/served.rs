//! The control of this process's run, and its page, kept where whichever thread ends the process can end
//! them first.

use parking_lot::Mutex;

use crate::{Control, Web};

/// The page goes first: it asks the control.
static SERVED: Mutex<Option<(Option<Web>, Control)>> = Mutex::new(None);

/// Keeps them until the process ends.
pub(super) fn keep(page: Option<Web>, control: Control) {
    *SERVED.lock() = Some((page, control));
}

/// Takes nothing more from outside; what was taken before is on the queue.
pub(super) fn refuse_changes() {
    if let Some((_, control)) = &*SERVED.lock() {
        control.refuse_changes();
    }
}

/// Ends it, after the answers that are on their way. A thread that answers must not call this.
pub(super) fn end() {
    // Held meanwhile, so that another thread that ends the process waits until its files are gone.
    let mut served = SERVED.lock();
    *served = None;
}
