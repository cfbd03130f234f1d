//! The results of many calls of one function, as an iterator: fed from an iterable, read one by one,
//! in order or as they come. No thread stands between the workers and whoever reads.
//!
//! Locks are held for moments in which no Python code runs, so that they and the interpreter's lock
//! never wait for each other.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dishrack::{Error, ItemEnded, ItemError, Submitter};
use parking_lot::Mutex;
use pyo3::exceptions::PyStopIteration;
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyList};

use crate::call::{Call, Reply};
use crate::errors::{exception, named};
use crate::pool::{Target, Workers, value_of};
use crate::waiting::wait_until;

/// The greatest number of calls, and of their bytes, that are submitted at once.
const BATCH_CALLS: usize = 128;
const BATCH_BYTES: usize = 64 * 1024;

/// What a chunk of calls came to.
enum Outcome {
    Ended(Result<Reply, ItemError<Infallible>>),
    /// Its arguments could not be had, pickled, or submitted.
    Fault(PyErr),
}

#[derive(Default)]
struct State {
    /// Outcomes that have come and not been read, in the order of their arrival.
    arrived: VecDeque<(u64, Outcome)>,
    /// Those that came before their turn.
    early: BTreeMap<u64, Outcome>,
    /// The numbers of chunks that were made, and that were read.
    made: u64,
    read: u64,
    /// True if no more chunks are made.
    is_fed: bool,
    /// Where further arguments come from, as results are read.
    source: Option<Py<PyIterator>>,
    /// What is left of the chunk that is being read, last first.
    rest: Vec<Py<PyAny>>,
    /// True if no more is read, because of an error.
    is_broken_off: bool,
    /// The reason why no more ends come.
    loss: Option<Error>,
}

/// The results of many calls.
#[pyclass(frozen, weakref, module = "dishrack._native")]
pub(crate) struct Results {
    submitter: Submitter<Call, Reply, u64>,
    target: Target,
    chunksize: usize,
    is_ordered: bool,
    /// True if the first error, and the end of this object, cancel what is left.
    is_strict: bool,
    deadline: Option<Instant>,
    state: Mutex<State>,
    /// The workers are stopped when nobody has them any more.
    _workers: Arc<Workers>,
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").finish_non_exhaustive()
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        if self.is_strict {
            // If it cannot be done, they are worked on in vain.
            let _ = self.submitter.withdraw_all();
        }
    }
}

impl Results {
    pub(crate) fn new(
        workers: &Arc<Workers>,
        target: Target,
        chunksize: usize,
        is_ordered: bool,
        is_strict: bool,
        timeout: Option<Duration>,
    ) -> Self {
        Results {
            submitter: workers.pool.submitter(),
            target,
            chunksize,
            is_ordered,
            is_strict,
            deadline: timeout.and_then(|time| Instant::now().checked_add(time)),
            state: Mutex::default(),
            _workers: Arc::clone(workers),
        }
    }

    /// Makes calls of the next arguments, at most so many. Returns `false` if there are no more.
    fn feed_some(&self, py: Python<'_>, source: &Bound<'_, PyIterator>, calls_max: usize) -> bool {
        let (mut calls, mut bytes, mut faults) = (Vec::new(), 0, Vec::new());
        let first = self.state.lock().made;
        let mut made = first;
        let mut has_more = true;
        while has_more && calls.len() < calls_max && bytes < BATCH_BYTES {
            let arguments = match self.arguments(py, source) {
                Ok(Some(arguments)) => Ok(arguments),
                Ok(None) => {
                    has_more = false;
                    break;
                }
                Err(error) => {
                    has_more = false;
                    Err(error)
                }
            };
            match arguments.and_then(|arguments| self.target.call(py, &arguments)) {
                Ok(call) => {
                    bytes += call.arguments.len();
                    calls.push((call, made));
                }
                Err(error) => faults.push((made, error)),
            }
            made += 1;
        }
        // They may end before this is known otherwise.
        self.state.lock().made = made;
        let put = py.detach(|| self.submitter.submit_many(calls));
        has_more &= !put.is_cut_short;
        for refused in put.refused {
            let (_, number) = refused.item;
            faults.push((number, exception(py, &refused.error)));
        }
        if !faults.is_empty() {
            let faults = faults.into_iter();
            let faults = faults.map(|(number, error)| (number, Outcome::Fault(error)));
            self.state.lock().arrived.extend(faults);
            self.submitter.interrupt();
        }
        has_more
    }

    /// Returns the next arguments: one, or a list of those of a chunk.
    fn arguments<'py>(
        &self,
        py: Python<'py>,
        source: &Bound<'py, PyIterator>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let mut source = source.clone();
        if self.chunksize == 1 {
            return source.next().transpose();
        }
        let chunk = PyList::empty(py);
        while chunk.len() < self.chunksize
            && let Some(argument) = source.next()
        {
            chunk.append(argument?)?;
        }
        Ok((!chunk.is_empty()).then(|| chunk.into_any()))
    }

    fn is_fed(&self) {
        let mut state = self.state.lock();
        state.is_fed = true;
        let source = state.source.take();
        drop(state);
        drop(source);
        self.submitter.close();
    }

    /// Makes one more call, if that is done as results are read.
    fn feed_ahead(&self, py: Python<'_>) {
        let source = self.state.lock().source.take();
        if let Some(source) = source {
            match self.feed_some(py, source.bind(py), 1) {
                true => self.state.lock().source = Some(source),
                false => self.is_fed(),
            }
        }
    }

    /// Takes the outcome whose turn it is, if it is there.
    fn take(&self) -> Option<Outcome> {
        let mut state = self.state.lock();
        let outcome = match self.is_ordered {
            false => state.arrived.pop_front()?.1,
            true => {
                let turn = state.read;
                let early = state.early.remove(&turn);
                match early {
                    Some(outcome) => outcome,
                    None => loop {
                        let (number, outcome) = state.arrived.pop_front()?;
                        if number == turn {
                            break outcome;
                        }
                        state.early.insert(number, outcome);
                    },
                }
            }
        };
        state.read += 1;
        Some(outcome)
    }

    /// Returns `true` if there is something to read, or will be nothing.
    fn is_ready(&self) -> bool {
        let state = self.state.lock();
        let is_there = match self.is_ordered {
            false => !state.arrived.is_empty(),
            true => {
                let turn = state.read;
                let is_turn = |one: &(u64, Outcome)| one.0 == turn;
                state.early.contains_key(&turn) || state.arrived.iter().any(is_turn)
            }
        };
        is_there || state.is_over() || state.loss.is_some()
    }

    /// Waits until more has come, or the time is over, which it says by `false`.
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let wait = |time| {
            let ends = match self.submitter.ends(Some(time)) {
                Ok(ends) => ends,
                Err(error) => {
                    // After a close, what there is was taken.
                    let loss = (!error.is_closed()).then_some(error);
                    self.state.lock().loss = loss;
                    return true;
                }
            };
            let is_empty = ends.is_empty();
            let ends = ends.into_iter();
            let ends = ends.map(|ItemEnded { tag, result, .. }| (tag, Outcome::Ended(result)));
            self.state.lock().arrived.extend(ends);
            !is_empty || self.is_ready()
        };
        wait_until(py, timeout, wait)
    }

    fn next_by(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        loop {
            let (is_broken_off, rest) = {
                let mut state = self.state.lock();
                (state.is_broken_off, state.rest.pop())
            };
            if let Some(value) = rest {
                return Ok(value);
            }
            if is_broken_off {
                return Err(PyStopIteration::new_err(()));
            }
            if let Some(outcome) = self.take() {
                self.feed_ahead(py);
                let value = match outcome {
                    Outcome::Ended(result) => value_of(py, result),
                    Outcome::Fault(error) => Err(error),
                };
                let value = value.map_err(|error| self.failed(py, error))?;
                if self.chunksize == 1 {
                    return Ok(value.unbind());
                }
                let chunk = value.cast_into::<PyList>()?;
                let rest = chunk.iter().map(Bound::unbind).rev().collect();
                self.state.lock().rest = rest;
                continue;
            }
            let (is_over, loss) = {
                let state = self.state.lock();
                (state.is_over(), state.loss.clone())
            };
            if is_over {
                return Err(PyStopIteration::new_err(()));
            }
            if let Some(error) = loss {
                return Err(exception(py, &error));
            }
            if !self.wait(py, timeout)? {
                let words = "no result came within the time given";
                return Err(self.failed(py, named(py, "TimeoutError", words.into())));
            }
        }
    }

    /// Cancels what is left, if that follows from an error.
    fn failed(&self, py: Python<'_>, error: PyErr) -> PyErr {
        if self.is_strict {
            self.state.lock().is_broken_off = true;
            // If it cannot be done, they are worked on in vain.
            let _ = py.detach(|| self.submitter.withdraw_all());
        }
        error
    }
}

impl State {
    /// Returns `true` if there will be nothing more to read.
    fn is_over(&self) -> bool {
        self.is_broken_off || self.is_fed && self.read == self.made
    }
}

#[pymethods]
impl Results {
    /// Makes calls of all arguments that this gives. An error of it is one of the results.
    fn feed(&self, py: Python<'_>, arguments: &Bound<'_, PyAny>) -> PyResult<()> {
        let source = arguments.try_iter()?;
        while self.feed_some(py, &source, BATCH_CALLS) {
            py.check_signals()?;
        }
        self.is_fed();
        Ok(())
    }

    /// Makes so many calls now, and one more whenever a result is read.
    fn feed_as_read(
        &self,
        py: Python<'_>,
        arguments: &Bound<'_, PyAny>,
        calls: usize,
    ) -> PyResult<()> {
        let source = arguments.try_iter()?;
        let mut left = calls;
        while left > 0 {
            let some = left.min(BATCH_CALLS);
            if !self.feed_some(py, &source, some) {
                self.is_fed();
                return Ok(());
            }
            left -= some;
        }
        self.state.lock().source = Some(source.unbind());
        Ok(())
    }

    /// Makes an error one of the results, and the last one.
    fn end_with(&self, error: Bound<'_, PyAny>) {
        let error = PyErr::from_value(error);
        let mut state = self.state.lock();
        let number = state.made;
        state.made += 1;
        state.arrived.push_back((number, Outcome::Fault(error)));
        drop(state);
        self.is_fed();
    }

    /// Cancels the calls that no worker has been given: their results are errors.
    fn withdraw_all(&self, py: Python<'_>) -> PyResult<u64> {
        let withdrawn = py.detach(|| self.submitter.withdraw_all());
        withdrawn.map_err(|error| exception(py, &error))
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let left = self
            .deadline
            .map(|at| at.saturating_duration_since(Instant::now()));
        self.next_by(py, left.map(|time| time.as_secs_f64()))
    }

    /// The next result; `TimeoutError` if none comes within so many seconds.
    #[pyo3(signature = (timeout = None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        self.next_by(py, timeout)
    }
}
