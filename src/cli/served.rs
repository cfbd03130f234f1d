//! The control of this process's run, kept where whichever thread ends the process can end it first.

use parking_lot::Mutex;

use crate::Control;

static SERVED: Mutex<Option<Control>> = Mutex::new(None);

/// Keeps it until the process ends.
pub(super) fn keep(control: Control) {
    *SERVED.lock() = Some(control);
}

/// Takes nothing more from outside; what was taken before is on the queue.
pub(super) fn refuse_changes() {
    if let Some(control) = &*SERVED.lock() {
        control.refuse_changes();
    }
}

/// Ends it, after the answers that are on their way. A thread that answers must not call this.
pub(super) fn end() {
    // Held meanwhile, so that another thread that ends the process waits until its files are gone.
    let mut served = SERVED.lock();
    *served = None;
}
