//! Several copies of an item: which results agree, the time at which more are due, and the number
//! of workers that may take one. The ledger decides; it does not know what a result is.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::core::{Core, Product};
use crate::payload::Payload;
use dishrack_core::ledger::{Ballot, Copies};

/// The number of bytes of a result that are shown to people.
const SHOWN_BYTES: usize = 32;

/// The program's own way to compare two results, and to show one to people.
pub(crate) struct Comparison {
    pub(crate) agree: Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>,
    pub(crate) describe: Box<dyn Fn(&[u8]) -> String + Send + Sync>,
}

impl fmt::Debug for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparison").finish_non_exhaustive()
    }
}

impl Ballot for Product {
    /// Compares the program's way, or byte for byte. Where that panics they do not agree: the lock
    /// is held, and an answer is needed.
    fn agrees(&self, other: &Self) -> bool {
        let (one, other): (&[u8], &[u8]) = (&self.result, &other.result);
        match &self.comparison {
            None => one == other,
            Some(comparison) => {
                let agree = || (comparison.agree)(one, other);
                catch_unwind(AssertUnwindSafe(agree)).unwrap_or(false)
            }
        }
    }

    fn describe(&self) -> String {
        let described = self.comparison.as_ref().and_then(|comparison| {
            let describe = || (comparison.describe)(&self.result);
            catch_unwind(AssertUnwindSafe(describe)).ok()
        });
        described.unwrap_or_else(|| describe_bytes(&self.result))
    }
}

/// Returns the bytes, or the first of them, as far as they can be printed.
fn describe_bytes(bytes: &Payload) -> String {
    let shown = bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii();
    match bytes.len() {
        0 => "done".to_owned(),
        1..=SHOWN_BYTES => format!("\"{shown}\""),
        length => format!("\"{shown}...\" ({length} bytes)"),
    }
}

/// The reason why a queue on a stream has no copies.
pub(crate) const NONE_ON_A_STREAM: &str = "cannot be made of items on Redis, where each has one \
                                           holder at a time: use a local queue, or a journal";

impl Core {
    /// Tells the ledger the time, where that matters for what it hands out.
    pub(super) fn note_time(&mut self) {
        if self.dispatcher.ledger.needs_time() {
            let now = self.emitter.now();
            self.dispatcher.ledger.handle_timeout(now);
        }
    }

    /// Notes that workers came, or that some will not be started again.
    pub(crate) fn workers_change(&mut self, came: usize, went: usize) {
        self.workers = (self.workers + came).saturating_sub(went);
        let now = self.emitter.now();
        self.dispatcher.ledger.handle_workers(self.workers, now);
    }

    /// Sets the copies of each item that does not choose for itself.
    pub(crate) fn set_copies(&mut self, copies: Copies) {
        self.dispatcher.ledger.handle_policy(Some(copies));
    }

    /// Sets the way in which results are compared.
    pub(crate) fn set_comparison(&mut self, comparison: std::sync::Arc<Comparison>) {
        self.comparison = Some(comparison);
    }
}
