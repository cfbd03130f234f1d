//! The worker's own stderr, which its supervisor reads: what is written here gets into the history
//! of the item that fails next, and on to the user where workers' stderr is shown.

use std::fmt::Display;
use std::io::{self, Write};

use crate::sys::blocking::Blocking;

/// Where it cannot be written, the history is without it.
pub(super) fn write(bytes: &[u8]) {
    let _ = Blocking(io::stderr()).write_all(bytes);
}

/// For a process that this worker starts.
pub(super) fn handle() -> io::Stderr {
    io::stderr()
}

/// A line for whoever watches.
pub(super) fn say(line: impl Display) {
    write(format!("supervisor: {line}\n").as_bytes());
}
