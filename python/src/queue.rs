//! A queue as Python has it: objects in, objects out, and those that this process holds.
//!
//! Python counts what a process got and has not acknowledged, whichever thread got it; the library
//! knows deliveries. So the deliveries are kept here, oldest first, for all handles of the queue in
//! this process.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use dishrack::{Capacity, Delivery, Failure, ItemHolder, ItemId, ItemState, JoinableQueue};
use parking_lot::Mutex;
use pyo3::prelude::*;

use crate::errors::{exception, named};
use crate::item::{Pickled, PyItem};
use crate::options::options_of;
use crate::pickling;
use crate::waiting::{Limit, wait};

/// What all handles of one queue share in this process.
#[derive(Debug)]
struct Shared {
    handle: JoinableQueue<PyItem>,
    held: Mutex<VecDeque<(ThreadId, Delivery<PyItem>)>>,
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
        let shared = Arc::new(Shared {
            handle,
            held: Mutex::default(),
        });
        known.push(Arc::downgrade(&shared));
        shared
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
        let (done, others) = held.drain(..).partition(|(by, _)| *by == own);
        *held = others;
        drop(held);
        settle(done);
    }
}

/// Acknowledges these. One that was cancelled meanwhile has its end already.
fn settle(done: VecDeque<(ThreadId, Delivery<PyItem>)>) {
    for (_, delivery) in done {
        let _ = delivery.task_done();
    }
}

#[pymethods]
impl Queue {
    #[new]
    fn new(
        maxsize: usize,
        joinable: bool,
        max_attempts: Option<u32>,
        backoff: Option<(f64, f64)>,
    ) -> PyResult<Self> {
        let options = options_of(max_attempts, backoff)?.capacity(match maxsize {
            0 => Capacity::Unbounded,
            bound => Capacity::Bounded(bound),
        });
        Ok(Queue {
            shared: Shared::of(JoinableQueue::with(options)),
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

    /// Takes all dead letters: each one's number, item and failed attempts.
    fn take_dead_letters(&self, py: Python<'_>) -> PyResult<Vec<Letter>> {
        let letters = py.detach(|| self.handle().take_dead_letters());
        let letters = letters.map_err(|error| exception(py, &error))?;
        let letters = letters.into_iter().map(|letter| {
            let history = letter.history.into_iter().map(told).collect();
            (letter.id.0, Pickled(letter.payload), history)
        });
        Ok(letters.collect())
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
        let own = thread::current().id();
        self.shared.held.lock().push_back((own, delivery));
        got
    }

    /// Acknowledges the oldest item that this process got and has not acknowledged.
    fn task_done(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            let oldest = self.shared.held.lock().pop_front();
            let Some((_, delivery)) = oldest else {
                let words = "task_done() called too many times";
                return Err(named(py, "TaskDoneTooOften", words.into()));
            };
            // It fails if the item was cancelled; then the next one is meant.
            if py.detach(|| delivery.task_done()).is_ok() {
                return Ok(());
            }
        }
    }

    /// Ends what this process holds, because it ends in order: acknowledges it, or gives it back where
    /// that is `task_done`'s business.
    fn release(&self, py: Python<'_>) {
        py.detach(|| {
            let held = std::mem::take(&mut *self.shared.held.lock());
            match self.joinable {
                true => drop(held),
                false => settle(held),
            }
        });
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
