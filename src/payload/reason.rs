//! The reason why something cannot be serialized, or read, in this thread: postcard's errors carry no
//! words of their own. It does not know what the thing is.

use std::cell::Cell;

thread_local! {
    static REASON: Cell<Option<String>> = const { Cell::new(None) };
}

/// Notes it, before the error is returned.
pub(crate) fn note(why: String) {
    REASON.set(Some(why));
}

/// Takes it, where the error has arrived.
pub(crate) fn take() -> Option<String> {
    REASON.take()
}
