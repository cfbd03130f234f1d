//! The native half of the Python package: the library's queues and worker processes as Python
//! classes.
//!
//! Items are bytes here. What they mean, which functions run and what a caller sees is decided by
//! the Python half, `python/dishrack`, which is the only user of this module. It uses the public
//! interface of the library alone.

mod buffers;
mod call;
mod errors;
mod events;
mod item;
mod launch;
mod options;
mod pickling;
mod pool;
mod process;
mod queue;
mod results;
mod serve;
mod supervisor;
mod waiting;

use pyo3::prelude::*;

#[pymodule(gil_used = true)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<queue::Queue>()?;
    module.add_class::<item::Pickled>()?;
    module.add_class::<buffers::LargeBuffers>()?;
    module.add_class::<buffers::Memory>()?;
    module.add_class::<process::WorkerProcess>()?;
    module.add_class::<supervisor::WorkerGroup>()?;
    module.add_class::<events::EventReader>()?;
    module.add_class::<pool::CallPool>()?;
    module.add_class::<pool::Target>()?;
    module.add_class::<results::Results>()?;
    module.add_function(wrap_pyfunction!(serve::prepare, module)?)?;
    module.add_function(wrap_pyfunction!(serve::serve, module)?)?;
    module.add_function(wrap_pyfunction!(launch::take_file, module)?)?;
    waiting::prepare(module)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
