//! Pickling as fast as it goes: one pickler for each thread, with the reducers of
//! `multiprocessing`. Short bytes are pickled here, without one. What it cannot pickle is left to
//! `reduction.py`, which knows queues and functions without a name.

use std::cell::RefCell;
use std::sync::LazyLock;

use dishrack::{Blob, Parts};
use memchr::memmem::Finder;
use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::buffers::{self, HeldBuffer, LargeBuffers};
use crate::item::PyItem;
use crate::queue::Queue;

const PROTOCOL: u8 = 5;

/// `PROTO`, `SHORT_BINBYTES` and `STOP` of the pickle protocol.
const PROTO: u8 = 0x80;
const SHORT_BYTES: u8 = b'C';
const STOP: u8 = b'.';

/// The pickle that is being made: what a pickler takes for a file.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Debug, Default)]
struct Output(Mutex<Vec<u8>>);

#[pymethods]
impl Output {
    fn write(&self, bytes: &Bound<'_, PyAny>) -> PyResult<()> {
        match bytes.cast_exact::<PyBytes>() {
            Ok(bytes) => self.0.lock().extend_from_slice(bytes.as_bytes()),
            Err(_) => {
                let held = HeldBuffer::of(bytes)?;
                self.0.lock().extend_from_slice(held.as_ref());
            }
        }
        Ok(())
    }
}

/// A pickler, by the methods of it that are called for each object.
struct Pickler {
    dump: Py<PyAny>,
    clear_memo: Py<PyAny>,
    output: Py<Output>,
    buffers: Py<LargeBuffers>,
    /// The number of reducers that it knows.
    reducers: usize,
}

thread_local! {
    static PICKLER: RefCell<Option<Pickler>> = const { RefCell::new(None) };
}

impl Pickler {
    fn new(py: Python<'_>, reducers: usize) -> PyResult<Self> {
        let output = Py::new(py, Output::default())?;
        let buffers = Py::new(py, LargeBuffers::default())?;
        let options = PyDict::new(py);
        options.set_item("buffer_callback", &buffers)?;
        let pickler = py.import("pickle")?.getattr("Pickler")?;
        let pickler = pickler.call((&output, PROTOCOL), Some(&options))?;
        let known = py.import("copyreg")?.getattr("dispatch_table")?;
        let table = known.cast_into::<PyDict>()?.copy()?;
        table.update(extra_reducers(py)?.as_mapping())?;
        pickler.setattr("dispatch_table", table)?;
        Ok(Pickler {
            dump: pickler.getattr("dump")?.unbind(),
            clear_memo: pickler.getattr("clear_memo")?.unbind(),
            output,
            buffers,
            reducers,
        })
    }

    fn dumps(&self, py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<Parts> {
        self.dump.bind(py).call1((object,))?;
        self.clear_memo.bind(py).call0()?;
        let pickle = std::mem::take(&mut *self.output.get().0.lock());
        Ok(Parts::new(pickle, self.buffers.get().take()))
    }
}

/// Returns the reducers that `multiprocessing` adds.
fn extra_reducers(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    static EXTRA: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let find = || -> PyResult<Py<PyDict>> {
        let pickler = py
            .import("multiprocessing.reduction")?
            .getattr("ForkingPickler")?;
        Ok(pickler
            .getattr("_extra_reducers")?
            .cast_into::<PyDict>()?
            .unbind())
    };
    Ok(EXTRA.get_or_try_init(py, find)?.bind(py).clone())
}

fn registered(py: Python<'_>) -> PyResult<usize> {
    static TABLE: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    let find = || -> PyResult<Py<PyDict>> {
        let table = py.import("copyreg")?.getattr("dispatch_table")?;
        Ok(table.cast_into::<PyDict>()?.unbind())
    };
    let table = TABLE.get_or_try_init(py, find)?.bind(py);
    Ok(table.len() + extra_reducers(py)?.len())
}

/// Pickles bytes of at most 255. All others are `None`.
fn short_bytes(object: &Bound<'_, PyAny>) -> Option<Parts> {
    let bytes = object.cast_exact::<PyBytes>().ok()?.as_bytes();
    let length = u8::try_from(bytes.len()).ok()?;
    let head = [PROTO, PROTOCOL, SHORT_BYTES, length];
    Some(Parts::new([&head, bytes, &[STOP]].concat(), Vec::new()))
}

/// Returns the bytes in what `short_bytes` has pickled.
fn as_short_bytes(pickle: &[u8]) -> Option<&[u8]> {
    match pickle {
        [PROTO, PROTOCOL, SHORT_BYTES, length, bytes @ .., STOP] => {
            (bytes.len() == usize::from(*length)).then_some(bytes)
        }
        _ => None,
    }
}

/// Pickles an object in which there are no queues.
pub(crate) fn dumps(py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<Parts> {
    if let Some(parts) = short_bytes(object) {
        return Ok(parts);
    }
    let reducers = registered(py)?;
    // An object's own code may pickle too, while it is taken.
    let pickler = PICKLER.with_borrow_mut(Option::take);
    let pickler = match pickler.filter(|pickler| pickler.reducers == reducers) {
        Some(pickler) => pickler,
        None => Pickler::new(py, reducers)?,
    };
    let parts = pickler.dumps(py, object)?;
    // After an error it is not used again: half an object is in it.
    PICKLER.with_borrow_mut(|kept| *kept = Some(pickler));
    Ok(parts)
}

/// Pickles an object, and the queues in it.
pub(crate) fn dumps_with_queues(py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<PyItem> {
    if let Ok(parts) = dumps(py, object)
        && !names_hidden_main(py, &parts.inline)?
    {
        let queues = Vec::new();
        return Ok(PyItem { parts, queues });
    }
    let dumps = py
        .import(intern!(py, "dishrack.reduction"))?
        .getattr("dumps")?;
    let buffers = Bound::new(py, LargeBuffers::default())?;
    let (bytes, queues): (Bound<'_, PyBytes>, Vec<PyRef<'_, Queue>>) =
        dumps.call1((object, &buffers))?.extract()?;
    let mut item = PyItem::packed(bytes.as_bytes(), &queues);
    item.parts.buffers = buffers.get().take();
    Ok(item)
}

/// Pickles the value of a call. What was defined in a main module that others cannot import goes by its
/// value.
pub(crate) fn dumps_value(py: Python<'_>, object: &Bound<'_, PyAny>) -> PyResult<Parts> {
    match dumps(py, object) {
        Ok(parts) if !names_hidden_main(py, &parts.inline)? => return Ok(parts),
        Err(error) if has_importable_main(py)? => return Err(error),
        Ok(_) | Err(_) => (),
    }
    let reduction = py.import(intern!(py, "dishrack.reduction"))?;
    let bytes = reduction.call_method1(intern!(py, "dumps_by_value"), (object,))?;
    let bytes = bytes.cast_into::<PyBytes>()?;
    Ok(Parts::new(bytes.as_bytes(), Vec::new()))
}

/// Returns `true` if something is named in this pickle as a part of a main module that others cannot
/// import.
fn names_hidden_main(py: Python<'_>, pickle: &[u8]) -> PyResult<bool> {
    static MAIN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("__main__"));
    Ok(MAIN.find(pickle).is_some() && !has_importable_main(py)?)
}

fn has_importable_main(py: Python<'_>) -> PyResult<bool> {
    let reduction = py.import(intern!(py, "dishrack.reduction"))?;
    reduction
        .call_method0(intern!(py, "has_importable_main"))?
        .is_truthy()
}

/// Unpickles an object, with the queues in it.
pub(crate) fn loads<'py>(py: Python<'py>, item: &PyItem) -> PyResult<Bound<'py, PyAny>> {
    let buffers = item.parts.buffers.iter();
    let buffers = buffers.map(|one| buffers::arrived(py, one.clone()));
    let buffers = buffers.collect::<PyResult<Vec<_>>>()?;
    if !item.queues.is_empty() {
        let loads = py
            .import(intern!(py, "dishrack.reduction"))?
            .getattr("loads")?;
        let pickle = buffers::to_unpickle(py, item.pickle())?;
        return loads.call1((pickle, item.arrived_queues(), buffers));
    }
    loads_plain(py, item.pickle(), buffers)
}

fn loads_plain<'py>(
    py: Python<'py>,
    pickle: &Blob,
    buffers: Vec<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    if buffers.is_empty()
        && let Some(bytes) = as_short_bytes(pickle)
    {
        return Ok(PyBytes::new(py, bytes).into_any());
    }
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = || -> PyResult<Py<PyAny>> { Ok(py.import("pickle")?.getattr("loads")?.unbind()) };
    let loads = LOADS.get_or_try_init(py, find)?.bind(py);
    let pickle = PyTuple::new(py, [buffers::to_unpickle(py, pickle)?])?;
    if buffers.is_empty() {
        return loads.call1(pickle);
    }
    let options = PyDict::new(py);
    options.set_item("buffers", PyList::new(py, buffers)?)?;
    loads.call(pickle, Some(&options))
}
