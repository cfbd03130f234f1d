//! Attempts with an unwritten part: a row, a result, a dead letter, their output. The journal keeps
//! them, so that the next run writes what is missing. It does not know which part that is.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ItemId;
use parking_lot::Mutex;

/// Shared by all writers.
#[derive(Debug, Clone, Default)]
pub(super) struct Unwritten(Arc<Mutex<BTreeSet<(ItemId, u32)>>>);

impl Unwritten {
    pub(super) fn add(&self, id: ItemId, attempt: u32) {
        self.0.lock().insert((id, attempt));
    }

    pub(super) fn has(&self, id: ItemId, attempt: u32) -> bool {
        self.0.lock().contains(&(id, attempt))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }
}
