//! How many items there will be, told by whoever reads them and asked by whoever shows or limits a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many items there will be, as far as that is known. Whoever reads them tells it, at any time.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    /// Items in the source; `u64::MAX` while that is not known.
    in_source: AtomicU64,
    /// Of them, what the journal has already.
    passed_over: AtomicU64,
    /// It cannot be known.
    is_open: bool,
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers {
            in_source: AtomicU64::new(u64::MAX),
            passed_over: AtomicU64::new(0),
            is_open: false,
        }
    }
}

impl Expected {
    /// Others put items as well, so that it is never known.
    pub(super) fn never() -> Self {
        Expected(Arc::new(Numbers {
            is_open: true,
            ..Numbers::default()
        }))
    }

    /// The source has so many items: all of them, whether they were read or not.
    pub(super) fn set(&self, in_source: u64) {
        self.0.in_source.store(in_source, Ordering::Relaxed);
    }

    /// One of them will not be put, as an earlier run has put it.
    pub(super) fn pass_over(&self) {
        self.0.passed_over.fetch_add(1, Ordering::Relaxed);
    }

    /// How many items there will be, where there were some before.
    pub(super) fn total(&self, before: u64) -> Option<u64> {
        match self.0.in_source.load(Ordering::Relaxed) {
            _ if self.0.is_open => None,
            u64::MAX => None,
            in_source => {
                let passed_over = self.0.passed_over.load(Ordering::Relaxed);
                Some(before + in_source.saturating_sub(passed_over))
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
    }
}
