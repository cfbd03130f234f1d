//! The control of this process's run, and its page, kept where whichever thread ends the process can end
//! them first.

use parking_lot::Mutex;

use crate::control::Reserved;
use crate::{Control, Web};

/// The socket of this run, and what is served there.
enum ServedRun {
    /// Its socket, which is not served yet.
    Reserved(Reserved),
    /// The page goes first: it asks the control.
    Serving((Option<Web>, Control)),
}

static SERVED: Mutex<Option<ServedRun>> = Mutex::new(None);

/// Keeps a socket until it is served, or the process ends.
pub(super) fn reserve(reserved: Reserved) {
    *SERVED.lock() = Some(ServedRun::Reserved(reserved));
}

/// Begins to serve by this, and keeps what it makes until the process ends. Returns `false` if no socket
/// was reserved.
///
/// # Errors
/// That of `serve`.
pub(super) fn begin<E>(
    serve: impl FnOnce(Reserved) -> Result<(Option<Web>, Control), E>,
) -> Result<bool, E> {
    // Held meanwhile, so that a thread that ends the process ends what is begun here.
    let mut served = SERVED.lock();
    let Some(ServedRun::Reserved(reserved)) = served.take() else {
        return Ok(false);
    };
    *served = Some(ServedRun::Serving(serve(reserved)?));
    Ok(true)
}

/// Takes nothing more from outside; what was taken before is on the queue.
pub(super) fn refuse_changes() {
    if let Some(ServedRun::Serving((_, control))) = &*SERVED.lock() {
        control.refuse_changes();
    }
}

/// Ends it, after the answers that are on their way. A thread that answers must not call this.
pub(super) fn end() {
    // Held meanwhile, so that another thread that ends the process waits until its files are gone.
    let mut served = SERVED.lock();
    *served = None;
}
