//! Worker processes that make calls: what `Pool` and `ProcessPoolExecutor` stand on. Calls go in with
//! a tag, and their ends come out many at once. Whose tags those are is decided in Python.

use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use dishrack::{Cause, ItemError, ItemId, JoinableQueue, Submitter, Supervisor};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use crate::call::{Call, Function, Reply, ReplyKind, Shape, run_call};
use crate::errors::exception;
use crate::item::PyItem;
use crate::launch::{Launch, copied, launched};
use crate::options::{options_of, time_of};
use crate::pickling;
use crate::queue::Queue;
use crate::results::Results;
use crate::waiting::wait_until;

/// A worker that dies more often than this, and for no call, is given up.
const INTENSITY: (u32, Duration) = (100, Duration::from_secs(10));

/// The time that an initializer may take.
const BOOT: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time in which the kernel makes a process.
const START_TIME: Duration = Duration::from_secs(60);

/// The workers, and the queue that they work for.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) queue: JoinableQueue<Call>,
    pub(crate) pool: ManuallyDrop<Supervisor<Call, Reply>>,
    /// The process that started them.
    parent: u32,
}

impl Drop for Workers {
    fn drop(&mut self) {
        // A process that was forked from the parent has no thread that could stop them.
        if self.parent == std::process::id() {
            // SAFETY: it is dropped here alone.
            unsafe { ManuallyDrop::drop(&mut self.pool) }
        }
    }
}

/// Worker processes that make calls.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Debug)]
pub(crate) struct CallPool {
    workers: Arc<Workers>,
    submitter: Submitter<Call, Reply, Py<PyAny>>,
}

/// A pickled function and the way in which it is called.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Debug, Clone)]
pub(crate) struct Target {
    function: Function,
    queues: Vec<JoinableQueue<PyItem>>,
    shape: Shape,
    is_kept: bool,
}

impl Target {
    /// Pickles the arguments, and makes a call of them.
    pub(crate) fn call(&self, py: Python<'_>, arguments: &Bound<'_, PyAny>) -> PyResult<Call> {
        Ok(Call {
            arguments: pickling::dumps_with_queues(py, arguments)?,
            shape: self.shape,
            is_kept: self.is_kept,
            function: self.function.clone(),
            function_queues: self.queues.clone(),
        })
    }
}

#[pymethods]
impl Target {
    /// Takes a pickled function. `shape`: "apply", "one", "star", "each" or "each_star". `is_kept`: one
    /// unpickled function serves many calls.
    #[new]
    fn new(
        pickle: &[u8],
        queues: Vec<PyRef<'_, Queue>>,
        shape: &str,
        is_kept: bool,
    ) -> PyResult<Self> {
        let shape = match shape {
            "apply" => Shape::Apply,
            "one" => Shape::One,
            "star" => Shape::Star,
            "each" => Shape::Each,
            "each_star" => Shape::EachStar,
            other => return Err(PyValueError::new_err(format!("no such shape: {other}"))),
        };
        let queues: Vec<_> = queues.iter().map(|queue| queue.handle().clone()).collect();
        Ok(Target {
            function: Function(pickle.into()),
            is_kept: is_kept && queues.is_empty(),
            queues,
            shape,
        })
    }
}

#[pymethods]
impl CallPool {
    /// Starts so many workers, under a name that `ps` shows. Each is given a pickle and the queues
    /// that it names, and copies of these open files, before its first call.
    #[new]
    #[pyo3(signature = (
        workers, name, launch, pickle, queues, files, *,
        max_attempts = None, backoff = None, timeout = None, max_memory = None, max_tasks = None
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
        pickle: &[u8],
        queues: Vec<PyRef<'_, Queue>>,
        files: Vec<RawFd>,
        max_attempts: Option<u32>,
        backoff: Option<(f64, f64)>,
        timeout: Option<f64>,
        max_memory: Option<u64>,
        max_tasks: Option<u64>,
    ) -> PyResult<Self> {
        let queue = JoinableQueue::with(options_of(max_attempts, backoff)?);
        let mut builder = launched(Supervisor::builder(), launch)
            .processes(workers)
            .name(name)
            .context_files(copied(&files)?)
            .intensity(INTENSITY.0, INTENSITY.1)
            .boot_deadline(BOOT);
        if let Some(seconds) = timeout {
            builder = builder.time_limit(time_of("timeout", seconds)?);
        }
        if let Some(bytes) = max_memory {
            builder = builder.max_memory_per_worker(bytes);
        }
        if let Some(tasks) = max_tasks {
            builder = builder.max_tasks_per_worker(tasks);
        }
        let context = PyItem::packed(pickle, &queues);
        let pool = py.detach(|| builder.context(&context)?.handler(&queue, run_call));
        let pool = pool.map_err(|error| exception(py, &error))?;
        let submitter = pool.submitter();
        Ok(CallPool {
            workers: Arc::new(Workers {
                queue,
                pool: ManuallyDrop::new(pool),
                parent: std::process::id(),
            }),
            submitter,
        })
    }

    /// Submits a call. Its end comes with this tag. Returns its number.
    fn submit(
        &self,
        py: Python<'_>,
        target: &Target,
        arguments: &Bound<'_, PyAny>,
        tag: Py<PyAny>,
    ) -> PyResult<u64> {
        let call = target.call(py, arguments)?;
        let id = self.submitter.submit(&call, tag);
        Ok(id.map_err(|error| exception(py, &error))?.0)
    }

    /// Waits for ends, and takes all that are there: triples of a tag, whether there is a value, and
    /// the value or the exception. `None`: the time is over. After the last one it raises.
    fn ends<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Vec<Bound<'py, PyTuple>>>> {
        let time = timeout
            .map(|seconds| time_of("timeout", seconds))
            .transpose()?;
        let ends = py.detach(|| self.submitter.ends(time));
        let ends = ends.map_err(|error| exception(py, &error))?;
        if ends.is_empty() {
            return Ok(None);
        }
        let triple = |end: dishrack::ItemEnded<Reply, Py<PyAny>>| {
            let (is_value, value) = match value_of(py, end.result) {
                Ok(value) => (true, value),
                Err(error) => (false, error.into_value(py).into_bound(py).into_any()),
            };
            (end.tag, is_value, value).into_pyobject(py)
        };
        Ok(Some(ends.into_iter().map(triple).collect::<PyResult<_>>()?))
    }

    /// Makes results of many calls of one function, which come one by one and not by `ends`.
    /// `strict`: the first error cancels the rest, as `Executor.map` does it; and all must be read
    /// within the time given.
    #[pyo3(signature = (target, chunksize, ordered, *, strict = false, timeout = None))]
    fn results(
        &self,
        target: &Target,
        chunksize: usize,
        ordered: bool,
        strict: bool,
        timeout: Option<f64>,
    ) -> PyResult<Results> {
        // One that is over already is over at the first result.
        let timeout = timeout.map(|seconds| time_of("timeout", seconds.max(0.0)));
        let (workers, target) = (&self.workers, target.clone());
        Ok(Results::new(
            workers,
            target,
            chunksize,
            ordered,
            strict,
            timeout.transpose()?,
        ))
    }

    /// Cancels a call, also one that runs: its worker is ended and replaced.
    fn cancel(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        let cancelled = py.detach(|| self.submitter.cancel(ItemId(number)));
        cancelled.map_err(|error| exception(py, &error))
    }

    /// Cancels a call that no worker has been given.
    fn withdraw(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        let withdrawn = py.detach(|| self.submitter.withdraw(ItemId(number)));
        withdrawn.map_err(|error| exception(py, &error))
    }

    /// Cancels all calls that no worker has been given; not those of `results`.
    fn withdraw_all(&self, py: Python<'_>) -> PyResult<u64> {
        let withdrawn = py.detach(|| self.submitter.withdraw_all());
        withdrawn.map_err(|error| exception(py, &error))
    }

    /// Whether a worker has this call, or may have it.
    fn is_begun(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        let item = py.detach(|| self.workers.queue.item(ItemId(number)));
        let item = item.map_err(|error| exception(py, &error))?;
        Ok(item.is_some_and(|item| item.state == dishrack::ItemState::Running))
    }

    /// Takes no more calls; `ends` raises after the last end.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.submitter.close());
    }

    /// Waits until all calls have ended, also those of `results`. Returns `False` if the time is over.
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let queue = &self.workers.queue;
        let is_joined = |time| match queue.join_timeout(time) {
            Err(error) => !error.is_timeout(),
            Ok(_) => true,
        };
        wait_until(py, timeout, is_joined)
    }

    /// Ends the workers in order: each finishes the call that it has begun, however long that takes.
    fn drain(&self, py: Python<'_>) {
        py.detach(|| self.workers.pool.drain());
    }

    /// Kills the workers. Nothing is accepted any more, because nobody would work on it.
    fn kill(&self, py: Python<'_>) {
        py.detach(|| {
            self.workers.queue.close();
            self.workers.pool.kill();
        });
    }

    /// The workers that are ready, by their names and pids.
    fn workers(&self) -> Vec<(String, u32)> {
        let workers = self.workers.pool.workers().into_iter();
        workers
            .map(|worker| (worker.name.to_string(), worker.pid))
            .collect()
    }

    /// The pids of all workers that have a process, also of those that are not ready. It waits until
    /// each that is to be started was.
    fn pids(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        let pool = &self.workers.pool;
        // Those that are not there after that time have none.
        wait_until(py, Some(START_TIME.as_secs_f64()), |time| {
            pool.wait_started_timeout(time)
        })?;
        let workers = pool.status().workers.into_iter();
        let pids = workers.map(|worker| worker.pid);
        Ok(pids.filter(|pid| *pid != 0).collect())
    }
}

/// Returns the value of a call, or the exception that it raised, or the reason why it has no end.
pub(crate) fn value_of<'py>(
    py: Python<'py>,
    result: Result<Reply, ItemError<std::convert::Infallible>>,
) -> PyResult<Bound<'py, PyAny>> {
    match result {
        Ok(Reply { object, kind }) => match kind {
            ReplyKind::Value => {
                let queues = Vec::new();
                let item = PyItem {
                    parts: object,
                    queues,
                };
                pickling::loads(py, &item).map_err(|error| unread(py, &error))
            }
            ReplyKind::Raised => Err(told(py, "rebuilt", &object.inline)),
            ReplyKind::Unready => Err(told(py, "unready", &object.inline)),
        },
        Err(ItemError::NoResult(error)) => Err(exception(py, &error)),
        Err(ItemError::Dead { history, .. }) => Err(dead(py, &history)),
        Err(other) => Err(crate::errors::named(py, "Error", other.to_string())),
    }
}

fn told(py: Python<'_>, function: &str, pickle: &[u8]) -> PyErr {
    let rebuild = || {
        let rebuild = py.import("dishrack._calls")?.getattr(function)?;
        rebuild.call1((PyBytes::new(py, pickle),))
    };
    rebuild().map_or_else(|error| error, PyErr::from_value)
}

/// Makes the exception of a value that cannot be unpickled.
fn unread(py: Python<'_>, error: &PyErr) -> PyErr {
    let make = || {
        let unread = py.import("dishrack._calls")?.getattr("unread")?;
        unread.call1((error.value(py),))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}

/// Makes the exception of a call that has no value because of what happened to its workers.
fn dead(py: Python<'_>, history: &[dishrack::Failure]) -> PyErr {
    let last = history.last();
    let class = match last.map(|failure| &failure.cause) {
        Some(Cause::Cancelled) => "cancelled",
        Some(Cause::TimedOut(_)) => "timed_out",
        Some(
            Cause::WorkerDied(_)
            | Cause::OutOfMemory
            | Cause::MemoryLimit(_)
            | Cause::OutOfMemoryAlone(_)
            | Cause::LostTooOften(_),
        ) => "worker_died",
        _ => "failed",
    };
    let causes: Vec<String> = history.iter().map(|one| one.cause.to_string()).collect();
    let attempts = history.iter().map(|one| one.attempt).max().unwrap_or(0);
    let stderr = last.map(|failure| failure.scene.stderr.to_string());
    let make = || {
        let make = py.import(intern!(py, "dishrack._calls"))?.getattr("dead")?;
        make.call1((class, attempts, causes, stderr.unwrap_or_default()))
    };
    make().map_or_else(|error| error, PyErr::from_value)
}
