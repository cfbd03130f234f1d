//! A queue as Python has it: objects in, objects out, and those that this process holds.
//!
//! Python counts what a process got and has not acknowledged, whichever thread got it; the library
//! knows deliveries. So the deliveries are kept here, oldest first, for all handles of the queue in
//! this process.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use dishrack::observe::Observer;
use dishrack::{
    Builder, Capacity, Delivery, Failure, ItemHolder, ItemId, ItemState, JoinableQueue,
};
use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::errors::{exception, named};
use crate::events::{EventReader, Readers};
use crate::item::{Pickled, PyItem};
use crate::options::{Place, options_of, time_of};
use crate::pickling;
use crate::waiting::{Limit, wait};

/// What all handles of one queue share in this process.
#[derive(Debug)]
struct Shared {
    handle: JoinableQueue<PyItem>,
    held: Mutex<VecDeque<Held>>,
    /// The bounds of one item, in the processes that work for this queue.
    limits: Limits,
    readers: Arc<Readers>,
}

/// The longest time and the most memory, in bytes, of one item.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    time: Option<Duration>,
    memory: Option<u64>,
}

/// An item that this process got and has not acknowledged.
#[derive(Debug)]
struct Held {
    by: ThreadId,
    /// True if `task_done` acknowledges it: it came by a handle that is joinable.
    awaits_task_done: bool,
    delivery: Delivery<PyItem>,
}

/// The queues that this process has handles of.
static KNOWN: Mutex<Vec<Weak<Shared>>> = Mutex::new(Vec::new());

impl Shared {
    /// Returns what the handles of this queue share, which is made for the first one.
    fn of(handle: JoinableQueue<PyItem>) -> Arc<Self> {
        let mut known = KNOWN.lock();
        known.retain(|one| one.strong_count() > 0);
        let mut all = known.iter().filter_map(Weak::upgrade);
        if let Some(shared) = all.find(|one| one.handle.is_same(&handle)) {
            return shared;
        }
        let shared = Arc::new(Shared::new(handle, Limits::default()));
        known.push(Arc::downgrade(&shared));
        shared
    }

    /// Notes a queue that was made or opened just now.
    fn of_new(handle: JoinableQueue<PyItem>, limits: Limits) -> Arc<Self> {
        let shared = Arc::new(Shared::new(handle, limits));
        KNOWN.lock().push(Arc::downgrade(&shared));
        shared
    }

    fn new(handle: JoinableQueue<PyItem>, limits: Limits) -> Self {
        Shared {
            handle,
            held: Mutex::default(),
            limits,
            readers: Arc::default(),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody is left here who could close it.
        self.readers.end();
    }
}

/// A handle of a queue. `joinable` says who acknowledges: `task_done`, or the next `get` of the thread
/// that got the item.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    shared: Arc<Shared>,
    joinable: bool,
}

impl Queue {
    pub(crate) fn handle(&self) -> &JoinableQueue<PyItem> {
        &self.shared.handle
    }

    /// Sets what processes that work for this queue need to know of it.
    pub(crate) fn served_by(&self, mut builder: Builder) -> Builder {
        if let Some(limit) = self.shared.limits.time {
            builder = builder.time_limit(limit);
        }
        if let Some(limit) = self.shared.limits.memory {
            builder = builder.memory_limit(limit);
        }
        if self.shared.readers.wants_items() {
            builder = builder.observer(Arc::clone(&self.shared.readers) as _);
        }
        builder
    }

    /// Returns a handle of the same queue that came with an item.
    pub(crate) fn arrived(handle: JoinableQueue<PyItem>) -> Self {
        Queue {
            shared: Shared::of(handle),
            joinable: true,
        }
    }

    /// Acknowledges what this thread got before.
    fn settle_own(&self) {
        let own = thread::current().id();
        let mut held = self.shared.held.lock();
        let (done, others): (VecDeque<_>, _) = held.drain(..).partition(|one| one.by == own);
        *held = others;
        drop(held);
        settle(done);
    }

    /// Acknowledges what waits for no `task_done`, and gives the rest back.
    fn release_held(&self) {
        let held = std::mem::take(&mut *self.shared.held.lock());
        settle(held.into_iter().filter(|one| !one.awaits_task_done));
    }
}

/// Acknowledges these. One that was cancelled meanwhile has its end already.
fn settle(done: impl IntoIterator<Item = Held>) {
    for held in done {
        let _ = held.delivery.task_done();
    }
}

#[pymethods]
impl Queue {
    /// Makes a queue, or opens one that is kept in a file or on a Redis. `timeout`: the seconds that a
    /// process which works for it may have an item.
    #[new]
    #[pyo3(signature = (
        maxsize, joinable, *,
        max_attempts = None, backoff = None, timeout = None, max_memory = None, journal = None,
        redis = None
    ))]
    #[allow(
        clippy::too_many_arguments,
        reason = "each is an option of Python's, given by name"
    )]
    fn new(
        py: Python<'_>,
        maxsize: usize,
        joinable: bool,
        max_attempts: Option<u32>,
        backoff: Option<(f64, f64)>,
        timeout: Option<f64>,
        max_memory: Option<u64>,
        journal: Option<PathBuf>,
        redis: Option<(String, String)>,
    ) -> PyResult<Self> {
        let options = options_of(max_attempts, backoff)?.capacity(match maxsize {
            0 => Capacity::Unbounded,
            bound => Capacity::Bounded(bound),
        });
        let time = timeout.map(|seconds| time_of("timeout", seconds));
        let limits = Limits {
            time: time.transpose()?,
            memory: max_memory,
        };
        let place = Place::of(journal, redis)?;
        let handle = py.detach(|| place.open(options));
        let handle = handle.map_err(|error| exception(py, &error))?;
        Ok(Queue {
            shared: Shared::of_new(handle, limits),
            joinable,
        })
    }

    /// The same queue for a handle that is acknowledged in the other way.
    fn as_joinable(&self, joinable: bool) -> Self {
        let shared = Arc::clone(&self.shared);
        Queue { shared, joinable }
    }

    /// Puts an object. Returns the item's number.
    fn put(
        &self,
        py: Python<'_>,
        object: &Bound<'_, PyAny>,
        timeout: Option<f64>,
    ) -> PyResult<u64> {
        let item = pickling::dumps_with_queues(py, object)?;
        let handle = self.handle();
        let put = |limit| match limit {
            Limit::Now => handle.try_put(&item),
            Limit::For(time) => handle.put_timeout(&item, time),
            Limit::Forever => handle.put(&item),
        };
        let put = |limit| match (put(limit), limit) {
            // Whoever gives a time is told when that is over, as by any full queue.
            (Err(error), Limit::For(time)) if timeout.is_some() && error.is_no_workers_left() => {
                thread::sleep(time);
                put(Limit::Now)
            }
            (answer, _) => answer,
        };
        let is_full = |error: &dishrack::Error| error.is_full() || error.is_no_workers_left();
        let id = match timeout {
            None => wait(py, timeout, put, dishrack::Error::is_full),
            Some(_) => wait(py, timeout, put, is_full).map_err(|error| full(py, error)),
        };
        Ok(id?.0)
    }

    /// Returns all dead letters: each one's number, item and failed attempts. `take`: they are gone
    /// then.
    fn dead_letters(&self, py: Python<'_>, take: bool) -> PyResult<Vec<Letter>> {
        let letters = py.detach(|| match take {
            true => self.handle().take_dead_letters(),
            false => self.handle().dead_letters(),
        });
        let letters = letters.map_err(|error| exception(py, &error))?;
        let letters = letters.into_iter().map(|letter| {
            let history = letter.history.into_iter().map(told).collect();
            (letter.id.0, Pickled(letter.payload), history)
        });
        Ok(letters.collect())
    }

    /// Tries a dead letter again. Returns `False` if there is none of this number.
    fn retry_dead_letter(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        let retried = py.detach(|| self.handle().retry_dead_letter(ItemId(number)));
        retried.map_err(|error| exception(py, &error))
    }

    /// Drops a dead letter for good. Returns `False` if there is none of this number.
    fn drop_dead_letter(&self, py: Python<'_>, number: u64) -> PyResult<bool> {
        let dropped = py.detach(|| self.handle().drop_dead_letter(ItemId(number)));
        dropped.map_err(|error| exception(py, &error))
    }

    /// Tells what happens from now on.
    fn events(&self, py: Python<'_>) -> PyResult<EventReader> {
        let readers = &self.shared.readers;
        let set = py.detach(|| self.handle().set_observer(Arc::clone(readers) as _));
        set.map_err(|error| exception(py, &error))?;
        Ok(readers.add())
    }

    /// Ends what `events` tells in this process.
    fn end_events(&self, py: Python<'_>) {
        py.detach(|| self.shared.readers.end());
    }

    /// Ends the journal, when all is in it, or leaves Redis. What this process holds goes back.
    fn close_store(&self, py: Python<'_>) -> PyResult<()> {
        let closed = py.detach(|| {
            self.release_held();
            self.handle().close_store()
        });
        closed.map_err(|error| exception(py, &error))
    }

    /// Returns who holds items, in words.
    fn holders(&self, py: Python<'_>) -> Vec<String> {
        let running = || {
            let state = Some(ItemState::Running);
            self.handle().items(state, ItemId(0), HOLDERS_MAX)
        };
        // In another process it is not known.
        let items = py.detach(running).unwrap_or_default();
        let holders = items.iter().flat_map(|item| {
            let of = item.number;
            let told =
                move |one: &ItemHolder| format!("{} ({}) has item {of}", one.worker, one.pid);
            item.holders.iter().map(told)
        });
        holders.collect()
    }

    /// Takes the next item.
    fn get<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        if !self.joinable {
            py.detach(|| self.settle_own());
        }
        let handle = self.handle();
        let get = |limit| match limit {
            Limit::Now => handle.try_get(),
            Limit::For(time) => handle.get_timeout(time),
            Limit::Forever => handle.get(),
        };
        let get = |limit| get(limit).map(Delivery::unbound);
        let delivery = wait(py, timeout, get, dishrack::Error::is_empty)?;
        let got = pickling::loads(py, &delivery);
        self.shared.held.lock().push_back(Held {
            by: thread::current().id(),
            awaits_task_done: self.joinable,
            delivery,
        });
        got
    }

    /// Acknowledges the oldest item that this process got and has not acknowledged.
    fn task_done(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let oldest = self.shared.held.lock().pop_front();
            let Some(held) = oldest else {
                let words = "task_done() called too many times";
                return Err(named(py, "TaskDoneTooOften", words.into()));
            };
            // It fails if the item was cancelled; then the next one is meant.
            if py.detach(|| held.delivery.task_done()).is_ok() {
                return Ok(());
            }
        }
    }

    /// Ends what this process holds of the queue, by whatever handle, because it ends in order: acknowledges
    /// it, or gives it back where that is `task_done`'s business.
    fn release(&self, py: Python<'_>) {
        py.detach(|| self.release_held());
    }

    /// Waits until every item is done or a dead letter. Returns the numbers of both.
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<(u64, u64)> {
        let handle = self.handle();
        let join = |limit| match limit {
            Limit::Now => handle.join_timeout(Duration::ZERO),
            Limit::For(time) => handle.join_timeout(time),
            Limit::Forever => handle.join(),
        };
        let joined = wait(py, timeout, join, dishrack::Error::is_timeout)?;
        Ok((joined.done, joined.dead))
    }

    fn qsize(&self, py: Python<'_>) -> usize {
        py.detach(|| self.handle().len())
    }

    fn full(&self, py: Python<'_>) -> bool {
        py.detach(|| self.handle().is_full())
    }

    /// Returns `True` if the queue is of this process, which can start workers for it.
    fn is_local(&self, py: Python<'_>) -> bool {
        py.detach(|| self.handle().counts().is_ok())
    }
}

/// The most items whose holders are told.
const HOLDERS_MAX: usize = 20;

/// A dead letter: its number, its item, and its failed attempts.
type Letter = (u64, Pickled, Vec<ToldFailure>);

/// A failed attempt: its number, cause, worker, process, and the end of what that wrote to stderr.
type ToldFailure = (u32, String, String, u32, String);

fn told(failure: Failure) -> ToldFailure {
    let Failure {
        attempt,
        cause,
        scene,
        ..
    } = failure;
    (
        attempt,
        cause.to_string(),
        scene.worker,
        scene.pid,
        scene.stderr,
    )
}

/// Makes a full queue's exception of one that says that nobody makes room.
fn full(py: Python<'_>, error: PyErr) -> PyErr {
    let is_lost = error.get_type(py).name();
    match is_lost.is_ok_and(|name| name == "NoWorkersLeft") {
        true => named(py, "Full", error.value(py).to_string()),
        false => error,
    }
}
