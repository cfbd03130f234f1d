//! The interpreter that worker processes are, and the way in which they are started. There is one fork
//! server for all of them: as many as there are programs for it, one after the other.

use std::mem;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use dishrack::{Builder, ForkServer};
use parking_lot::Mutex;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

/// A path and its arguments.
type Program = (String, Vec<String>);

/// The program that workers are, and the name of the method by which they are started.
pub(crate) type Launch = (Program, String);

/// A fork server, and what it was made for.
struct Known {
    program: Program,
    /// The process that made it. A copy of that cannot use it.
    parent: u32,
    server: ForkServer,
}

/// The fork server that was asked for last. One before it ends with its last worker.
static KNOWN: Mutex<Option<Known>> = Mutex::new(None);

/// Has workers be this program, started by the method of this name. The interpreter's lock is held, so
/// that nobody forks this process meanwhile.
pub(crate) fn launched(builder: Builder, (program, method): Launch) -> Builder {
    match method.as_str() {
        "forkserver" => builder.fork_server(&fork_server(program)),
        _ => builder.program(program.0, program.1),
    }
}

fn fork_server(program: Program) -> ForkServer {
    let parent = std::process::id();
    let mut known = KNOWN.lock();
    if let Some(known) = known.as_ref()
        && known.parent == parent
        && known.program == program
    {
        return known.server.clone();
    }
    let (path, arguments) = program.clone();
    let server = ForkServer::of_program(path, arguments);
    let made = Known {
        program,
        parent,
        server: server.clone(),
    };
    let before = known.replace(made);
    if let Some(before) = before.filter(|before| before.parent != parent) {
        // It has no thread here.
        mem::forget(before);
    }
    server
}

/// Copies open files of these numbers, which stay open.
pub(crate) fn copied(numbers: &[RawFd]) -> PyResult<Vec<OwnedFd>> {
    let copy = |number: &RawFd| {
        if *number < 0 {
            return Err(PyOSError::new_err(libc::EBADF));
        }
        // SAFETY: it is only copied; if no file has this number, the call says so.
        let file = unsafe { BorrowedFd::borrow_raw(*number) };
        Ok(file.try_clone_to_owned()?)
    };
    numbers.iter().map(copy).collect()
}

/// Takes a copy of the open file at this place of those that came with this worker. Returns its number.
#[pyfunction]
pub(crate) fn take_file(place: usize) -> Option<RawFd> {
    dishrack::take_context_file(place).map(IntoRawFd::into_raw_fd)
}
