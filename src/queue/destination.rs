//! Where something goes that this thread is serializing: whether a handle of a queue may be in it
//! depends on that. It does not know what a handle is.

use std::cell::Cell;

use crate::protocol::address::Home;

/// Where something goes that is being serialized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Nowhere that a handle would arrive at.
    Elsewhere,
    /// A queue of this process that ends with it, or workers of this process.
    Here,
    /// Such a queue of another process.
    Home(Home),
    /// A queue whose items outlive the process.
    Kept,
}

thread_local! {
    static DESTINATION: Cell<Destination> = const { Cell::new(Destination::Elsewhere) };
}

/// Serializes something that goes there.
pub(crate) fn going<R>(to: Destination, serialize: impl FnOnce() -> R) -> R {
    /// Also where a type's own Serialize panics.
    struct Before(Destination);
    impl Drop for Before {
        fn drop(&mut self) {
            DESTINATION.set(self.0);
        }
    }
    let _before = Before(DESTINATION.replace(to));
    serialize()
}

/// Returns where it goes that is being serialized.
pub(super) fn present() -> Destination {
    DESTINATION.get()
}
