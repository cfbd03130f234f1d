//! The value that a program gives all its worker processes before their first item.
//!
//! The bytes stay in the shared memory in which they came. Only the program knows their meaning.

use std::sync::OnceLock;

use serde::de::DeserializeOwned;

use crate::sys::memory::ReadableMapping;

static CONTEXT: OnceLock<ReadableMapping> = OnceLock::new();

/// Stores the context. It is called once, when this process becomes a worker.
pub(super) fn set(context: Option<ReadableMapping>) {
    if let Some(context) = context {
        // A process becomes a worker only once.
        let _ = CONTEXT.set(context);
    }
}

/// Returns the value that the supervisor gave all its worker processes
/// ([`Builder::context`](crate::Builder::context)). Returns `None` outside of a worker process,
/// where no value was given, or where it is no `C`.
///
/// Each call decodes it anew, so a handler keeps it in a `static`.
///
/// # Example
///
/// ```no_run
/// use std::sync::OnceLock;
///
/// use dishrack::{JoinableQueue, Supervisor};
///
/// fn dry(dish: String) -> Result<(), String> {
///     static TOWEL: OnceLock<String> = OnceLock::new();
///     let towel = TOWEL.get_or_init(|| dishrack::context().unwrap_or_default());
///     println!("{dish} is dried with {towel}");
///     Ok(())
/// }
///
/// fn main() -> Result<(), dishrack::Error> {
///     dishrack::serve(|roles| roles.handler(dry));
///     let rack = JoinableQueue::unbounded();
///     let pool = Supervisor::builder()
///         .processes(2)
///         .context(&"a fresh towel")?
///         .handler(&rack, dry)?;
///     rack.put("cup")?;
///     rack.join()?;
///     pool.stop();
///     Ok(())
/// }
/// ```
#[must_use]
pub fn context<C: DeserializeOwned>() -> Option<C> {
    postcard::from_bytes(CONTEXT.get()?).ok()
}
