//! Large buffers of Python objects: their bytes as the library takes them, and the library's memory as
//! Python reads it and writes to it. It does not know what is in them.
//!
//! The buffer protocol is part of the stable ABI from CPython 3.11 on. Its two functions and its
//! structure are the same in every version that has protocol 5 of pickle, so they are declared here.

use std::ffi::{c_char, c_int, c_void};
use std::fmt;

use dishrack::{Blob, BlobMut};
use parking_lot::Mutex;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyErr, ffi};

/// The size in bytes from which a buffer is left out of a pickle, to be shared.
const LARGE: usize = 16 * 1024;

/// The size in bytes from which a pickle that has come is mapped rather than copied.
const MAPPED: usize = 128 * 1024;

/// `Py_buffer`.
#[repr(C)]
struct RawView {
    start: *mut c_void,
    owner: *mut ffi::PyObject,
    length: ffi::Py_ssize_t,
    item_size: ffi::Py_ssize_t,
    is_read_only: c_int,
    dimensions: c_int,
    format: *mut c_char,
    shape: *mut ffi::Py_ssize_t,
    strides: *mut ffi::Py_ssize_t,
    suboffsets: *mut ffi::Py_ssize_t,
    internal: *mut c_void,
}

/// `PyBUF_ANY_CONTIGUOUS`: the bytes lie one behind the other, in whatever order of dimensions.
const ANY_CONTIGUOUS: c_int = 0x98;

unsafe extern "C" {
    fn PyObject_GetBuffer(object: *mut ffi::PyObject, view: *mut RawView, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut RawView);
}

/// The bytes of a Python object, which stay where they are as long as this exists.
pub(crate) struct HeldBuffer(Box<RawView>);

// SAFETY: the interpreter keeps the memory in place until the view is released, which `drop` does
// attached to it, in whatever thread.
unsafe impl Send for HeldBuffer {}
// SAFETY: as above; the view itself is not written to.
unsafe impl Sync for HeldBuffer {}

impl HeldBuffer {
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut view = Box::<RawView>::new_uninit();
        // SAFETY: the object lives, and the view has its place, where it stays: some objects make it
        // point to itself.
        let got = unsafe { PyObject_GetBuffer(object.as_ptr(), view.as_mut_ptr(), ANY_CONTIGUOUS) };
        if got != 0 {
            return Err(PyErr::fetch(object.py()));
        }
        // SAFETY: it was filled in.
        Ok(HeldBuffer(unsafe { view.assume_init() }))
    }
}

impl Drop for HeldBuffer {
    fn drop(&mut self) {
        // Where the interpreter has ended there is nothing to be released.
        let _ = Python::try_attach(|_| {
            // SAFETY: it was got by `PyObject_GetBuffer`, and is released here alone.
            unsafe { PyBuffer_Release(&raw mut *self.0) }
        });
    }
}

impl AsRef<[u8]> for HeldBuffer {
    fn as_ref(&self) -> &[u8] {
        let length = usize::try_from(self.0.length).unwrap_or(0);
        if length == 0 {
            return &[];
        }
        // SAFETY: the bytes are there until the view is released. A thread that writes to them while
        // they are put gets what it asks for: bytes of both times.
        unsafe { std::slice::from_raw_parts(self.0.start.cast(), length) }
    }
}

/// The large buffers of an object that is being pickled: what pickle calls for each buffer in it.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Default)]
pub(crate) struct LargeBuffers(Mutex<Vec<Blob>>);

impl fmt::Debug for LargeBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LargeBuffers")
            .field(&*self.0.lock())
            .finish()
    }
}

impl LargeBuffers {
    pub(crate) fn take(&self) -> Vec<Blob> {
        std::mem::take(&mut *self.0.lock())
    }
}

#[pymethods]
impl LargeBuffers {
    /// Keeps a buffer, if it is large. Returns `True` if it is not, and stays in the pickle.
    fn __call__(&self, buffer: &Bound<'_, PyAny>) -> PyResult<bool> {
        let held = HeldBuffer::of(buffer)?;
        if held.as_ref().len() < LARGE {
            return Ok(true);
        }
        self.0.lock().push(Blob::of(held));
        Ok(false)
    }

    /// Forgets what was kept: it is pickled once more.
    fn clear(&self) {
        drop(self.take());
    }
}

/// Memory that Python reads and writes: the bytes of one buffer, as this process sees them.
#[pyclass(frozen, module = "dishrack._native")]
#[derive(Debug)]
pub(crate) struct Memory {
    /// Nobody but Python uses it, by its address, as long as this exists.
    _bytes: BlobMut,
    #[pyo3(get)]
    address: usize,
    #[pyo3(get)]
    length: usize,
}

/// Returns the bytes of a pickle that has come, which are read where they lie if they are many.
pub(crate) fn to_unpickle<'py>(py: Python<'py>, pickle: &Blob) -> PyResult<Bound<'py, PyAny>> {
    match pickle.len() {
        few if few < MAPPED => Ok(PyBytes::new(py, pickle).into_any()),
        _ => arrived(py, pickle.clone()),
    }
}

/// Returns a buffer that has come, as a `memoryview` to write to. Its memory stays as long as that, or
/// whatever is made of it.
pub(crate) fn arrived<'py>(py: Python<'py>, buffer: Blob) -> PyResult<Bound<'py, PyAny>> {
    let mut bytes = py.detach(|| buffer.into_mut());
    let memory = Memory {
        address: bytes.as_mut_ptr().addr(),
        length: bytes.len(),
        _bytes: bytes,
    };
    let view_of = py
        .import(intern!(py, "dishrack.reduction"))?
        .getattr("view_of")?;
    view_of.call1((memory,))
}
