//! Being a worker process: an interpreter that was started to be one gets its order here. What it
//! runs is decided in `_worker.py`.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use crate::process::run_process;

static IS_WORKER: AtomicBool = AtomicBool::new(false);

/// Works, in a process that was started to be a worker: there this never returns.
#[pyfunction]
pub(crate) fn serve(py: Python<'_>) {
    IS_WORKER.store(true, Ordering::Relaxed);
    py.detach(name_functions);
}

/// Names the functions that worker processes run, before the first is started. A worker that starts
/// some of its own has done so already.
#[pyfunction]
pub(crate) fn prepare(py: Python<'_>) {
    static ONCE: Once = Once::new();
    if !IS_WORKER.load(Ordering::Relaxed) {
        py.detach(|| ONCE.call_once(name_functions));
    }
}

fn name_functions() {
    dishrack::serve(|roles| roles.worker(run_process));
}
