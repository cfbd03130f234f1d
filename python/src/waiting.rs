//! Waiting without the interpreter's lock, so that other threads run, and in the main thread so that
//! Ctrl-C is heard: the interpreter runs handlers of signals in that thread alone. It does not know
//! what is waited for.

use std::cell::Cell;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::exception;

/// The longest time in which the main thread does not look for a signal.
const SLICE: Duration = Duration::from_millis(100);

/// The time that one call may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    Now,
    For(Duration),
    Forever,
}

/// Calls until there is an answer, or an error other than that the time of the call was over. A
/// `timeout` in seconds of `None` is for ever, and one of 0 or less does not wait.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    call: impl Fn(Limit) -> Result<T, dishrack::Error> + Sync,
    is_not_yet: fn(&dishrack::Error) -> bool,
) -> PyResult<T> {
    let call = |limit| match call(limit) {
        Err(error) if is_not_yet(&error) => Outcome::NotYet(error),
        answer => Outcome::Answer(answer),
    };
    let answer = match wait_for(py, timeout, call)? {
        Outcome::Answer(answer) => answer,
        Outcome::NotYet(error) => Err(error),
    };
    answer.map_err(|error| exception(py, &error))
}

/// Waits until this is so. Returns `false` if the time is over first.
pub(crate) fn wait_until(
    py: Python<'_>,
    timeout: Option<f64>,
    is_so: impl Fn(Duration) -> bool + Sync,
) -> PyResult<bool> {
    let call = |limit| {
        let time = match limit {
            Limit::Now => Duration::ZERO,
            Limit::For(time) => time,
            Limit::Forever => Duration::MAX,
        };
        match is_so(time) {
            true => Outcome::Answer(()),
            false => Outcome::NotYet(()),
        }
    };
    let outcome = wait_for(py, timeout, call)?;
    Ok(matches!(outcome, Outcome::Answer(())))
}

/// The outcome of one call.
enum Outcome<A, N> {
    Answer(A),
    NotYet(N),
}

fn wait_for<A: Send, N: Send>(
    py: Python<'_>,
    timeout: Option<f64>,
    call: impl Fn(Limit) -> Outcome<A, N> + Sync,
) -> PyResult<Outcome<A, N>> {
    let deadline = match timeout {
        Some(seconds) if seconds > 0.0 => deadline_in(seconds),
        Some(_) => return Ok(py.detach(|| call(Limit::Now))),
        None => None,
    };
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let limit = match (left, is_main_thread()) {
            (None, false) => Limit::Forever,
            (None, true) => Limit::For(SLICE),
            (Some(left), false) => Limit::For(left),
            (Some(left), true) => Limit::For(left.min(SLICE)),
        };
        let outcome = py.detach(|| call(limit));
        let is_over = deadline.is_some_and(|at| at <= Instant::now());
        if is_over || matches!(outcome, Outcome::Answer(_)) {
            return Ok(outcome);
        }
        py.check_signals().inspect_err(|error| note(py, error))?;
    }
}

/// Notes that Ctrl-C was heard here, because no other process has heard it.
fn note(py: Python<'_>, error: &PyErr) {
    if error.is_instance_of::<PyKeyboardInterrupt>(py) {
        let noted = py
            .import("dishrack.process")
            .and_then(|module| module.call_method0("note_interrupt"));
        if let Err(error) = noted {
            error.print(py);
        }
    }
}

/// Returns when so many seconds are over; `None` beyond the range of the clock.
fn deadline_in(seconds: f64) -> Option<Instant> {
    let time = Duration::try_from_secs_f64(seconds).ok()?;
    Instant::now().checked_add(time)
}

thread_local! {
    /// What `is_main_thread` has found out.
    static IS_MAIN: Cell<Option<bool>> = const { Cell::new(None) };
}

/// Returns `true` in the first thread of the process, which is the interpreter's main thread.
fn is_main_thread() -> bool {
    let found = IS_MAIN.get().unwrap_or_else(|| {
        // SAFETY: two system calls without arguments.
        unsafe { libc::gettid() == libc::getpid() }
    });
    IS_MAIN.set(Some(found));
    found
}

/// Forgets which thread this is, in a process that was forked: whichever thread forked is the main one
/// there.
#[pyfunction]
fn forget_thread() {
    IS_MAIN.set(None);
}

/// Has the interpreter tell of forks.
pub(crate) fn prepare(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let options = PyDict::new(py);
    options.set_item("after_in_child", wrap_pyfunction!(forget_thread, module)?)?;
    let register = py.import("os")?.getattr("register_at_fork")?;
    register.call((), Some(&options)).map(drop)
}
