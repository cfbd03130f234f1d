//! The number of items that there will be: the reader of the source sets it, displays and limits
//! ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of items that there will be, if it is known. It may become known at any time.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    /// Items in the source; `u64::MAX` while their number is not known.
    in_source: AtomicU64,
    /// The number of them that the journal has already.
    passed_over: AtomicU64,
    /// The number of items that others have put.
    added: AtomicU64,
    /// True if the number cannot be known.
    is_open: bool,
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers {
            in_source: AtomicU64::new(u64::MAX),
            passed_over: AtomicU64::new(0),
            added: AtomicU64::new(0),
            is_open: false,
        }
    }
}

impl Expected {
    /// Makes a number that is never known, because others put items as well.
    pub(super) fn never() -> Self {
        Expected(Arc::new(Numbers {
            is_open: true,
            ..Numbers::default()
        }))
    }

    /// Sets the number of items in the source, read or not.
    pub(super) fn set(&self, in_source: u64) {
        self.0.in_source.store(in_source, Ordering::Relaxed);
    }

    /// Counts an item of the source that is not put, because an earlier run has put it.
    pub(super) fn pass_over(&self) {
        self.0.passed_over.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts items that are not from the source.
    pub(super) fn add(&self, count: u64) {
        self.0.added.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the number of items, with the `before` that earlier runs have accepted.
    pub(super) fn total(&self, before: u64) -> Option<u64> {
        match self.0.in_source.load(Ordering::Relaxed) {
            _ if self.0.is_open => None,
            u64::MAX => None,
            in_source => {
                let passed_over = self.0.passed_over.load(Ordering::Relaxed);
                let added = self.0.added.load(Ordering::Relaxed);
                Some(before + in_source.saturating_sub(passed_over) + added)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_before_is_not_expected_again() {
        let expected = Expected::default();
        assert_eq!(expected.total(7), None);
        expected.set(10);
        assert_eq!(expected.total(0), Some(10));
        // The journal has seven, of which two are in the source.
        expected.pass_over();
        expected.pass_over();
        assert_eq!(expected.total(7), Some(15));
        expected.add(3);
        assert_eq!(expected.total(7), Some(18));
    }
}
