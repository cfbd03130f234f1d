//! What happens to the items of a queue, for whoever iterates over it. Whoever reads slowly holds
//! nothing up: what there is no room for is counted and passed over.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use dishrack::observe::{Event, EventKind, Observer};
use parking_lot::{Condvar, Mutex};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::waiting::wait_until;

/// The number of events that wait for a reader. Together they have some twenty megabytes.
const WAITING_MAX: usize = 100_000;

/// Those who read the events of one queue in this process: its observer.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<Vec<Weak<Waiting>>>);

/// The events that wait for one reader.
#[derive(Default)]
struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    missed: u64,
    is_over: bool,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.state.lock().events.len();
        f.debug_struct("Waiting").field("events", &waiting).finish()
    }
}

impl Waiting {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Waits until there is an event or will be no more, at most this long. Returns `false` if the
    /// time is over first.
    fn wait(&self, time: Duration) -> bool {
        let until = Instant::now().checked_add(time);
        let mut state = self.state.lock();
        while state.is_idle() {
            match until {
                Some(until) if self.changed.wait_until(&mut state, until).timed_out() => {
                    return !state.is_idle();
                }
                Some(_) => {}
                None => self.changed.wait(&mut state),
            }
        }
        true
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.events.is_empty() && self.missed == 0 && !self.is_over
    }
}

impl Readers {
    /// Makes one more reader, of what happens from now on.
    pub(crate) fn add(&self) -> EventReader {
        let waiting = Arc::new(Waiting::default());
        let mut all = self.0.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&waiting));
        EventReader(waiting)
    }

    /// Tells all readers that there will be no more.
    pub(crate) fn end(&self) {
        for one in std::mem::take(&mut *self.0.lock()) {
            if let Some(waiting) = one.upgrade() {
                waiting.change(|state| state.is_over = true);
            }
        }
    }
}

impl Observer for Readers {
    fn wants_items(&self) -> bool {
        self.0.lock().iter().any(|one| one.strong_count() > 0)
    }

    fn observe(&self, event: Event) {
        let all = self.0.lock();
        for waiting in all.iter().filter_map(Weak::upgrade) {
            waiting.change(|state| match state.events.len() < WAITING_MAX {
                true => state.events.push_back(event.clone()),
                false => state.missed += 1,
            });
        }
    }
}

/// The events of a queue, one after the other, as JSON objects. `events.py` makes classes of them.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Debug)]
pub(crate) struct EventReader(Arc<Waiting>);

#[pymethods]
impl EventReader {
    /// Waits for the next event. Returns it, or the number of those that were missed; `None` if the
    /// time is over, and an empty text if there will be no more.
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<String>> {
        if !wait_until(py, timeout, |time| self.0.wait(time))? {
            return Ok(None);
        }
        let mut state = self.0.state.lock();
        if let Some(event) = state.events.pop_front() {
            drop(state);
            return Ok(Some(json_of(&event)?));
        }
        match std::mem::take(&mut state.missed) {
            0 => Ok(Some(String::new())),
            missed => Ok(Some(missed.to_string())),
        }
    }

    /// Says that nobody reads any more.
    fn close(&self) {
        self.0.change(|state| {
            state.events.clear();
            state.is_over = true;
        });
    }
}

/// Writes an event as JSON, with the number of its item, which the text of the command leaves out.
fn json_of(event: &Event) -> PyResult<String> {
    let broken = |error: serde_json::Error| PyRuntimeError::new_err(error.to_string());
    let mut value = serde_json::to_value(event).map_err(broken)?;
    let id = match &event.kind {
        EventKind::ItemDone { id, .. }
        | EventKind::Retry { id, .. }
        | EventKind::Dead { id, .. } => Some(id.0),
        _ => None,
    };
    if let (Some(number), Some(fields)) = (id, value.as_object_mut()) {
        fields.insert("number".into(), number.into());
    }
    Ok(value.to_string())
}
