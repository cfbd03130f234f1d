//! The worker's own stderr, which its supervisor reads. It gets into the history of the item that
//! fails next, and to the user if workers' stderr is shown.

use std::fmt::Display;
use std::io::{self, Write};

use crate::sys::blocking::Blocking;

/// Writes bytes. If that fails, the history lacks them.
pub(super) fn write(bytes: &[u8]) {
    let _ = Blocking(io::stderr()).write_all(bytes);
}

/// Returns it for a process that this worker starts.
pub(super) fn handle() -> io::Stderr {
    io::stderr()
}

/// Writes a line for the user.
pub(super) fn say(line: impl Display) {
    write(format!("supervisor: {line}\n").as_bytes());
}
