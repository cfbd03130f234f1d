//! A call and its reply as the library carries them, and the worker's side: it unpickles a function
//! and its arguments, calls, and pickles what comes of it. A call that raises is a reply, and no
//! failure of its item.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use dishrack::{Blob, JoinableQueue, Parts};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::item::PyItem;
use crate::pickling;

/// The way in which the arguments are given to the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// They are a tuple and a dictionary.
    Apply,
    /// They are one argument.
    One,
    /// They are a tuple.
    Star,
    /// They are a list, and the function is called with each of it.
    Each,
    /// They are a list of tuples, and the function is called with each of those.
    EachStar,
}

/// A pickled function: one for many calls.
#[derive(Debug, Clone)]
pub(crate) struct Function(pub(crate) Arc<[u8]>);

/// A call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Call {
    /// It comes first, for its buffers to be aligned.
    pub(crate) arguments: PyItem,
    pub(crate) shape: Shape,
    /// True if one unpickled function may serve many calls.
    pub(crate) is_kept: bool,
    pub(crate) function: Function,
    /// The queues that are named in the function.
    pub(crate) function_queues: Vec<JoinableQueue<PyItem>>,
}

/// What came of a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// The value or the exception. It comes first, for its buffers to be aligned.
    pub(crate) object: Parts,
    pub(crate) kind: ReplyKind,
}

/// What the object of a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ReplyKind {
    /// What the call returned.
    Value,
    /// What it raised.
    Raised,
    /// What the worker's initializer has raised, for which the call was not made.
    Unready,
}

impl ReplyKind {
    fn of(self, pickle: impl Into<Blob>) -> Reply {
        Reply {
            object: Parts::new(pickle, Vec::new()),
            kind: self,
        }
    }
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Function {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Function;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Function, E> {
                Ok(Function(bytes.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Function, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Function(bytes.into()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The reason why no call can be made here, pickled: the initializer's exception.
static UNREADY: OnceLock<Vec<u8>> = OnceLock::new();

/// Prepares this worker for its calls, before the first one.
pub(crate) fn begin() {
    let Some(context) = dishrack::context::<PyItem>() else {
        return;
    };
    Python::attach(|py| {
        let begin = || {
            let pickle = PyBytes::new(py, context.pickle());
            let queues = context.arrived_queues();
            let begin = py.import("dishrack._calls")?.getattr("begin")?;
            begin.call1((pickle, queues))?.extract()
        };
        let raised: PyResult<Option<Vec<u8>>> = begin();
        let raised = raised.unwrap_or_else(|error| Some(told(py, "raised", &error)));
        if let Some(raised) = raised {
            // A worker begins once.
            let _ = UNREADY.set(raised);
        }
    });
}

/// Ends this worker in order, after the last call.
pub(crate) fn end() {
    Python::attach(|py| {
        let end = || py.import("dishrack._calls")?.getattr("end")?.call0();
        if let Err(error) = end() {
            error.print(py);
        }
    });
}

/// Makes a call. It fails only where even the exception cannot be told.
pub(crate) fn run_call(call: Call) -> Result<Reply, String> {
    if let Some(raised) = UNREADY.get() {
        return Ok(ReplyKind::Unready.of(raised.as_slice()));
    }
    Ok(Python::attach(|py| reply(py, call)))
}

fn reply(py: Python<'_>, call: Call) -> Reply {
    let unpickled = function_of(py, &call).and_then(|function| {
        let arguments = pickling::loads(py, &call.arguments)?;
        Ok((function, arguments))
    });
    let (function, arguments) = match unpickled {
        Ok(unpickled) => unpickled,
        Err(error) => return ReplyKind::Raised.of(told(py, "not_unpickled", &error)),
    };
    let value = match value_of(call.shape, &function, arguments) {
        Ok(value) => value,
        Err(error) => return ReplyKind::Raised.of(told(py, "raised", &error)),
    };
    let error = match pickling::dumps_value(py, &value) {
        Ok(object) => {
            let kind = ReplyKind::Value;
            return Reply { object, kind };
        }
        Err(error) => error,
    };
    let unpicklable = || {
        let unpicklable = py.import("dishrack._calls")?.getattr("unpicklable")?;
        unpicklable.call1((error.value(py), &value))?.extract()
    };
    let unpicklable: PyResult<Vec<u8>> = unpicklable();
    ReplyKind::Raised.of(unpicklable.unwrap_or_else(|error| told(py, "raised", &error)))
}

/// Pickles an exception and its traceback, as this function of `_calls.py` does it.
fn told(py: Python<'_>, function: &str, error: &PyErr) -> Vec<u8> {
    let tell = || {
        let value = error.value(py);
        // They are kept apart until somebody asks for the traceback of the value.
        if let Some(traceback) = error.traceback(py) {
            value.setattr("__traceback__", traceback)?;
        }
        let function = py.import("dishrack._calls")?.getattr(function)?;
        function.call1((value,))?.extract()
    };
    let told: PyResult<Vec<u8>> = tell();
    // Without memory, for example. The caller says that it was not understood.
    told.unwrap_or_default()
}

fn value_of<'py>(
    shape: Shape,
    function: &Bound<'py, PyAny>,
    arguments: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    match shape {
        Shape::Apply => {
            let (args, kwargs): (Bound<'_, PyTuple>, Bound<'_, PyDict>) = arguments.extract()?;
            match kwargs.is_empty() {
                true => function.call1(args),
                false => function.call(args, Some(&kwargs)),
            }
        }
        Shape::One => function.call1((arguments,)),
        Shape::Star => function.call1(tuple_of(&arguments)?),
        Shape::Each => {
            let values = PyList::empty(py);
            for argument in arguments.cast::<PyList>()?.iter() {
                values.append(function.call1((argument,))?)?;
            }
            Ok(values.into_any())
        }
        Shape::EachStar => {
            let values = PyList::empty(py);
            for argument in arguments.cast::<PyList>()?.iter() {
                values.append(function.call1(tuple_of(&argument)?)?)?;
            }
            Ok(values.into_any())
        }
    }
}

/// Returns the arguments that `*` takes from this.
fn tuple_of<'py>(arguments: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    match arguments.cast::<PyTuple>() {
        Ok(tuple) => Ok(tuple.clone()),
        Err(_) => {
            let py = arguments.py();
            let tuple = py.get_type::<PyTuple>().call1((arguments,))?;
            Ok(tuple.cast_into::<PyTuple>()?)
        }
    }
}

/// The number of functions that a worker keeps.
const KEPT_MAX: usize = 64;

fn function_of<'py>(py: Python<'py>, call: &Call) -> PyResult<Bound<'py, PyAny>> {
    thread_local! {
        static KEPT: RefCell<HashMap<Arc<[u8]>, Py<PyAny>>> = RefCell::default();
    }
    let pickle = &call.function.0;
    let known = KEPT.with_borrow(|kept| kept.get(pickle).map(|one| one.clone_ref(py)));
    if let Some(function) = known {
        return Ok(function.into_bound(py));
    }
    let function = pickling::loads(
        py,
        &PyItem {
            parts: Parts::new(&**pickle, Vec::new()),
            queues: call.function_queues.clone(),
        },
    )?;
    if call.is_kept {
        KEPT.with_borrow_mut(|kept| {
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert(Arc::clone(pickle), function.clone().unbind());
        });
    }
    Ok(function)
}
