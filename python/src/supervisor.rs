//! Processes that run one Python function each, and are started again when they die: what
//! `dishrack.Supervisor` stands on. What they run is in their context, as for a single process.

use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::time::Duration;

use dishrack::{Restart, Supervisor};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::exception;
use crate::item::PyItem;
use crate::launch::Launch;
use crate::options::time_of;
use crate::process::running;
use crate::queue::Queue;
use crate::waiting::wait_until;

/// A worker: its name, pid, state, item, the seconds it has been at that, its restarts, and why the
/// last process in its place died.
type ToldWorker = (
    String,
    u32,
    String,
    Option<u64>,
    Option<f64>,
    u64,
    Option<String>,
);

/// Processes that run one function.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Debug)]
pub(crate) struct WorkerGroup {
    pool: ManuallyDrop<Supervisor<PyItem, ()>>,
    /// The process that started them.
    parent: u32,
}

impl Drop for WorkerGroup {
    fn drop(&mut self) {
        // A process that was forked from the parent has no thread that could stop them.
        if self.parent == std::process::id() {
            // SAFETY: it is dropped here alone.
            unsafe { ManuallyDrop::drop(&mut self.pool) }
        }
    }
}

fn restart_of(word: &str) -> PyResult<Restart> {
    match word {
        "permanent" => Ok(Restart::Permanent),
        "transient" => Ok(Restart::Transient),
        "temporary" => Ok(Restart::Temporary),
        other => {
            let words = "restart must be \"permanent\", \"transient\" or \"temporary\", not";
            Err(PyValueError::new_err(format!("{words} {other:?}")))
        }
    }
}

#[pymethods]
impl WorkerGroup {
    /// Starts so many under this name, which a number follows. They work for `queue`, and each is
    /// given a pickle and the queues that it names. `restart`: "permanent", "transient" or
    /// "temporary". `intensity`: the restarts of one worker, and the seconds in which they are too
    /// many. `grace`: the seconds that a stopped one has for what it has begun.
    #[new]
    #[pyo3(signature = (
        workers, name, launch, queue, pickle, queues, files, *, restart, intensity, grace
    ))]
    #[allow(
        clippy::too_many_arguments,
        reason = "each is an option of Python's, given by name"
    )]
    fn new(
        py: Python<'_>,
        workers: usize,
        name: String,
        launch: Launch,
        queue: Option<PyRef<'_, Queue>>,
        pickle: &[u8],
        queues: Vec<PyRef<'_, Queue>>,
        files: Vec<RawFd>,
        restart: &str,
        intensity: (u32, f64),
        grace: f64,
    ) -> PyResult<Self> {
        let builder = Supervisor::builder()
            .processes(workers)
            .name(name)
            .restart(restart_of(restart)?)
            .intensity(intensity.0, time_of("intensity", intensity.1)?)
            .shutdown(time_of("grace", grace)?);
        // Those that are started again are given the same files.
        let pool = running(py, builder, launch, queue, pickle, &queues, &files)?;
        Ok(WorkerGroup {
            pool: ManuallyDrop::new(pool),
            parent: std::process::id(),
        })
    }

    /// Returns its state, the number of workers that it should have, that of all restarts, and the
    /// workers.
    fn status(&self, py: Python<'_>) -> (String, usize, u64, Vec<ToldWorker>) {
        let status = py.detach(|| self.pool.status());
        let workers = status.workers.into_iter().map(|one| {
            (
                one.name,
                one.pid,
                one.state.to_string(),
                one.item.map(|item| item.0),
                one.elapsed.map(|time| time.as_secs_f64()),
                one.restarts,
                one.last_death.map(|death| death.cause.to_string()),
            )
        });
        let state = status.state.to_string();
        (state, status.wanted, status.restarts, workers.collect())
    }

    /// Has so many workers from now on. Waits until there are, at most so many seconds.
    fn scale(&self, py: Python<'_>, workers: usize, timeout: Option<f64>) -> PyResult<()> {
        let time = timeout.map_or(Ok(Duration::MAX), |seconds| time_of("timeout", seconds))?;
        let scaled = py.detach(|| self.pool.scale_timeout(workers, time));
        scaled.map_err(|error| exception(py, &error))
    }

    /// Ends them in order, and waits for that.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.pool.stop());
    }

    /// Kills them.
    fn kill(&self, py: Python<'_>) {
        py.detach(|| self.pool.kill());
    }

    /// Waits until all have ended for good. Returns `False` if the time is over first.
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        wait_until(py, timeout, |time| self.pool.wait_timeout(time))
    }
}
