//! An item as the library carries it: what Python has pickled, and the queues that travel in it. It
//! does not know what is in the pickle.

use dishrack::{Blob, JoinableQueue};
use serde::{Deserialize, Serialize};

/// A pickled object. Long ones are read in shared memory where they arrive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PyItem {
    pub(crate) pickle: Blob,
    /// The queues that are named in it, by their places here.
    pub(crate) queues: Vec<JoinableQueue<PyItem>>,
}
