//! A process that runs one Python function: a pool of a single worker, which is never started again.
//!
//! It works for one queue of this process, which so learns of its death; it reaches others by
//! connections. What it runs is in its context, which `_worker.py` takes apart.

use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::time::Duration;

use dishrack::{Builder, Exit, JoinableQueue, Restart, Supervisor};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::exception;
use crate::item::PyItem;
use crate::launch::{Launch, copied, launched};
use crate::queue::Queue;
use crate::waiting::wait_until;

/// The exit code of a process that ended in a way that nobody knows, as in `multiprocessing`.
const UNKNOWN: i32 = 255;

/// The longest time in which the kernel makes a process, before that is an error.
const START_TIME: Duration = Duration::from_secs(60);

/// A process that runs one function.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    pool: ManuallyDrop<Supervisor<PyItem, ()>>,
    #[pyo3(get)]
    pid: u32,
    /// The process that started it.
    parent: u32,
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // A process that was forked from the parent has no thread that could stop it.
        if self.parent == std::process::id() {
            // SAFETY: it is dropped here alone.
            unsafe { ManuallyDrop::drop(&mut self.pool) }
        }
    }
}

#[pymethods]
impl WorkerProcess {
    /// Starts one in this way, under a name that `ps` shows. It
    /// works for `queue`, and is given a pickle, the queues that it names, and copies of these open files.
    #[new]
    fn new(
        py: Python<'_>,
        name: String,
        launch: Launch,
        queue: Option<PyRef<'_, Queue>>,
        pickle: &[u8],
        queues: Vec<PyRef<'_, Queue>>,
        files: Vec<RawFd>,
    ) -> PyResult<Self> {
        let builder = Supervisor::builder()
            .processes(1)
            .exact_name(name)
            .restart(Restart::Temporary);
        let pool = running(py, builder, launch, queue, pickle, &queues, &files)?;
        let is_started = wait_until(py, Some(START_TIME.as_secs_f64()), |time| {
            pool.wait_started_timeout(time)
        })?;
        pool.close_context_files();
        let status = pool.status();
        let pid = match (status.workers.first(), status.ended.first()) {
            (Some(worker), _) => worker.pid,
            (None, Some(end)) => end.pid,
            (None, None) => 0,
        };
        if pid == 0 || !is_started {
            let end = status.ended.first();
            let why = end.and_then(|end| end.complaint.clone());
            let why = why.unwrap_or_else(|| match is_started {
                true => "it ended before its pid was known, maybe with the fork server".into(),
                false => format!("no process was made within {START_TIME:?}"),
            });
            return Err(PyOSError::new_err(why));
        }
        Ok(WorkerProcess {
            pool: ManuallyDrop::new(pool),
            pid,
            parent: std::process::id(),
        })
    }

    /// Waits until it has ended, and what it held is on its queue again. Returns its exit code, a
    /// negative signal, or `None` if the time is over first.
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<i32>> {
        if self.parent != std::process::id() {
            let words = "can only wait for a process that this one has started";
            return Err(PyRuntimeError::new_err(words));
        }
        match wait_until(py, timeout, |time| self.pool.wait_timeout(time))? {
            true => Ok(Some(self.exit_code())),
            false => Ok(None),
        }
    }
}

impl WorkerProcess {
    fn exit_code(&self) -> i32 {
        let status = self.pool.status();
        match status.ended.first().map(|end| end.exit) {
            Some(Exit::Exited(code)) => code,
            Some(Exit::Signaled(signal)) => -signal,
            Some(Exit::Unknown) | None => UNKNOWN,
        }
    }
}

/// Starts processes that run the function in a pickle, which they are given with the queues that it names
/// and copies of these open files. They work for `queue`.
pub(crate) fn running(
    py: Python<'_>,
    builder: Builder,
    launch: Launch,
    queue: Option<PyRef<'_, Queue>>,
    pickle: &[u8],
    queues: &[PyRef<'_, Queue>],
    files: &[RawFd],
) -> PyResult<Supervisor<PyItem, ()>> {
    let context = PyItem::packed(pickle, queues);
    let (builder, queue) = match &queue {
        Some(queue) => (queue.served_by(builder), queue.handle().clone()),
        None => (builder, JoinableQueue::unbounded()),
    };
    let builder = launched(builder, launch).context_files(copied(files)?);
    let pool = py.detach(|| builder.context(&context)?.worker(&queue, run_process));
    pool.map_err(|error| exception(py, &error))
}

/// Runs the function that is in this process's context.
pub(crate) fn run_process(_queue: JoinableQueue<PyItem>) {
    let Some(context) = dishrack::context::<PyItem>() else {
        return;
    };
    Python::attach(|py| {
        let pickle = PyBytes::new(py, context.pickle());
        let queues = context.arrived_queues();
        drop(context);
        let run = || {
            py.import("dishrack._worker")?
                .getattr("run_process")?
                .call1((pickle, queues))
        };
        // It tells of everything that goes wrong in what it runs.
        if let Err(error) = run() {
            error.print(py);
        }
    });
}
