//! An item as the library carries it: what Python has pickled, and the queues that travel in it. It
//! does not know what is in the pickle.

use dishrack::{Blob, JoinableQueue, Parts};
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use crate::pickling;
use crate::queue::Queue;

/// A pickled object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PyItem {
    /// The pickle, and the large buffers that it leaves out. It comes first, for these to be aligned.
    pub(crate) parts: Parts,
    /// The queues that are named in it, by their places here.
    pub(crate) queues: Vec<JoinableQueue<PyItem>>,
}

impl PyItem {
    /// Makes one of a pickle and the queues that it names.
    pub(crate) fn packed(pickle: &[u8], queues: &[PyRef<'_, Queue>]) -> Self {
        PyItem {
            parts: Parts::new(pickle, Vec::new()),
            queues: queues.iter().map(|queue| queue.handle().clone()).collect(),
        }
    }

    pub(crate) fn pickle(&self) -> &Blob {
        &self.parts.inline
    }

    /// Returns the queues that it names, for Python.
    pub(crate) fn arrived_queues(&self) -> Vec<Queue> {
        self.queues.iter().cloned().map(Queue::arrived).collect()
    }

    /// Returns the number of its bytes.
    pub(crate) fn len(&self) -> usize {
        let buffers = self.parts.buffers.iter();
        self.parts.inline.len() + buffers.map(|one| one.len()).sum::<usize>()
    }
}

/// An object that has come and was not unpickled yet.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Debug)]
pub(crate) struct Pickled(pub(crate) PyItem);

#[pymethods]
impl Pickled {
    /// Unpickles it, each time anew.
    fn load<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        pickling::loads(py, &self.0)
    }
}
