//! Being a worker process: an interpreter that was started to be one gets its order here. What it
//! runs is decided in `_worker.py`.

use std::sync::Once;

use pyo3::prelude::*;

use crate::call;
use crate::process::run_process;

/// Names the functions that worker processes run. In a process that was started to be a worker it
/// works, and never returns.
#[pyfunction]
pub(crate) fn serve(py: Python<'_>) {
    // A worker that starts workers of its own has done so already.
    static ONCE: Once = Once::new();
    py.detach(|| {
        ONCE.call_once(|| {
            dishrack::serve(|roles| {
                roles.worker(run_process);
                roles.handler_between(call::begin, call::run_call, call::end);
            });
        });
    });
}
