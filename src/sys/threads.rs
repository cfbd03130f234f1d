//! Threads that have a name and are not waited for.

use std::io;
use std::thread;

/// The name of the threads of the control API, which begin no work of their own.
pub(crate) const CONTROL: &str = "control";

/// Begins a thread of this name, which `ps` shows.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map(drop)
}
