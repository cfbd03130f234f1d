//! Being a worker process: an interpreter that was started to be one gets its order here. What it
//! runs is decided in `_worker.py`.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use dishrack::Roles;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::call;
use crate::process::run_process;

static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// Works, in a process that was started to be a worker: there this never returns. A fork server calls
/// `preload` first, and forks what is there then.
#[pyfunction]
pub(crate) fn serve(py: Python<'_>, preload: Py<PyAny>) {
    IS_WORKER.store(true, Ordering::Relaxed);
    py.detach(|| {
        dishrack::serve(|roles| {
            name_functions(roles);
            roles.preload(move || Python::attach(|py| call(py, &preload)));
            roles.around_fork(around_fork);
        });
    });
}

fn call(py: Python<'_>, function: &Py<PyAny>) {
    if let Err(error) = function.call0(py) {
        error.print(py);
    }
}

/// Tells the interpreter of a fork, as `os.fork` does.
fn around_fork(fork: &mut dyn FnMut() -> bool) {
    Python::attach(|_| {
        // SAFETY: this thread is attached to the interpreter, and is the only one. The calls are made
        // in the order that they ask for.
        unsafe {
            ffi::PyOS_BeforeFork();
            match fork() {
                true => ffi::PyOS_AfterFork_Child(),
                false => ffi::PyOS_AfterFork_Parent(),
            }
        }
    });
}

/// Names the functions that worker processes run, before the first is started. A worker that starts
/// some of its own has done so already.
#[pyfunction]
pub(crate) fn prepare(py: Python<'_>) {
    static ONCE: Once = Once::new();
    if !IS_WORKER.load(Ordering::Relaxed) {
        py.detach(|| ONCE.call_once(|| dishrack::serve(name_functions)));
    }
}

fn name_functions(roles: &mut Roles) {
    roles.worker(run_process);
    roles.handler_between(call::begin, call::run_call, call::end);
}
