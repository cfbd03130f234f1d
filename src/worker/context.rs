//! The value and the files that a program gives all its worker processes before their first item.
//!
//! The bytes stay in the shared memory in which they came. Only the program knows their meaning.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::sys::memory::ReadableMapping;

static CONTEXT: OnceLock<ReadableMapping> = OnceLock::new();

static FILES: Mutex<Vec<Option<OwnedFd>>> = Mutex::new(Vec::new());

/// Stores the context. It is called once, when this process becomes a worker.
pub(super) fn set(context: Option<ReadableMapping>, files: Vec<Arc<OwnedFd>>) {
    // They have just arrived, so nobody else has them.
    *FILES.lock() = files.into_iter().map(Arc::into_inner).collect();
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

/// Takes a file that the supervisor gave all its worker processes
/// ([`Builder::context_files`](crate::Builder::context_files)), by its place there, from 0 on. Returns
/// `None` outside of a worker process, where there is no such file, or where it was taken.
///
/// # Example
///
/// ```no_run
/// use std::fs::File;
/// use std::io::Write;
///
/// use dishrack::{JoinableQueue, Supervisor};
///
/// fn log(line: String) -> std::io::Result<()> {
///     thread_local! {
///         static LOG: Option<File> = dishrack::take_context_file(0).map(File::from);
///     }
///     LOG.with(|log| log.as_ref().map_or(Ok(()), |mut log| writeln!(log, "{line}")))
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// dishrack::serve(|roles| roles.handler(log));
/// let lines = JoinableQueue::unbounded();
/// let file = File::options().append(true).create(true).open("lines.log")?;
/// let pool = Supervisor::builder()
///     .processes(2)
///     .context_files([file.into()])
///     .handler(&lines, log)?;
/// # drop(pool);
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn take_context_file(place: usize) -> Option<OwnedFd> {
    FILES.lock().get_mut(place)?.take()
}
