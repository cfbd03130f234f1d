//! The library's errors as exceptions of the package. The classes are in `errors.py`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

/// Converts an error into the exception of its case.
pub(crate) fn exception(py: Python<'_>, error: &dishrack::Error) -> PyErr {
    let class = match () {
        () if error.is_full() => "Full",
        () if error.is_empty() => "Empty",
        () if error.is_closed() => "Closed",
        () if error.is_timeout() => "TimeoutError",
        () if error.is_no_workers_left() => "NoWorkersLeft",
        () if error.is_task_done_too_often() || error.is_stale() => "TaskDoneTooOften",
        () if error.is_not_serializable() || error.is_no_shared_memory() => "NotAccepted",
        () if error.is_journal() => "JournalError",
        () if error.is_shared() => "SharedQueueError",
        () if error.is_supervisor_gone() => "SupervisorGone",
        () if error.is_setup() => "SetupError",
        () => "Error",
    };
    named(py, class, error.to_string())
}

/// Makes an exception of this class of the package.
pub(crate) fn named(py: Python<'_>, class: &str, message: String) -> PyErr {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("dishrack.errors").map(Bound::unbind));
    let made = module.and_then(|module| module.bind(py).getattr(class)?.call1((message,)));
    made.map_or_else(|error| error, PyErr::from_value)
}
