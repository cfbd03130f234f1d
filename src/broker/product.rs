//! The result of an item, and how two of them are compared where several copies of an item are made.
//! It is not known here what a result is.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::payload::Payload;
use dishrack_core::ledger::{Ballot, Scene};

/// The result of an item, and its place.
#[derive(Debug)]
pub(crate) struct Product {
    pub(super) result: Payload,
    /// The place and the time, if events of single items are wanted.
    pub(super) scene: Option<Scene>,
    /// The program's own way to compare it with that of another copy, if there is one.
    pub(super) comparison: Option<Arc<Comparison>>,
}

/// The number of bytes of a result that are shown to people.
const SHOWN_BYTES: usize = 32;

/// Returns `true` if two results are taken for the same.
type Agree = Box<dyn Fn(&[u8], &[u8]) -> bool + Send + Sync>;

/// Returns a result in a few words.
type Describe = Box<dyn Fn(&[u8]) -> String + Send + Sync>;

/// The program's own way to compare two results, and to show one to people.
pub(crate) struct Comparison {
    pub(crate) agree: Agree,
    pub(crate) describe: Describe,
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
