//! What a run is to do in all, as far as that is known, and how to go on where it did less.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Failure, progress, screen};
use crate::ledger::Counts;
use crate::queue::JoinableQueue;

/// What is to be done in all, and what was done before.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// What the journal had at the beginning.
    pub(super) before: Counts,
    pub(super) expected: Expected,
    /// What is said if something is left undone; taken by whoever says it.
    advice: Arc<Mutex<Option<String>>>,
}

impl Goal {
    /// The goal of a run that begins with this queue. `in_source`: how many items it will read,
    /// where that is known; `advice`: how to go on where some are left undone, if that is to be
    /// said.
    pub(super) fn of<T: Serialize + DeserializeOwned>(
        queue: &JoinableQueue<T>,
        in_source: Option<u64>,
        advice: Option<String>,
    ) -> Result<Self, Failure> {
        let expected = Expected::default();
        if let Some(in_source) = in_source {
            expected.set(in_source);
        }
        Ok(Goal {
            before: queue.counts()?,
            expected,
            advice: Arc::new(Mutex::new(advice)),
        })
    }

    /// What the run's progress is made of. `wants_items`: whether events of single items are
    /// wanted, which cost time for every item.
    pub(super) fn run<T: Serialize + DeserializeOwned>(
        &self,
        queue: &JoinableQueue<T>,
        wants_items: bool,
    ) -> Result<progress::Run, Failure> {
        let broker = queue.broker().map_err(crate::Error)?;
        Ok(progress::Run {
            began: Instant::now() - broker.read(|core| core.emitter.now()),
            counts: self.before,
            expected: self.expected.clone(),
            wants_items,
        })
    }

    /// A signal ended the run: says how to go on, once, if there is something left to do.
    pub(super) fn tell_left_undone<T: Serialize + DeserializeOwned>(
        &self,
        queue: &JoinableQueue<T>,
    ) {
        let total = self.expected.total(self.before.accepted);
        let is_left = |counts: Counts| total.is_none_or(|total| counts.done + counts.dead < total);
        let mut advice = self.advice.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.is_journal_broken()
            && queue.counts().is_ok_and(is_left)
            && let Some(advice) = advice.take()
        {
            screen::say_in_time(format!("supervisor: {advice}"));
        }
    }
}

/// How many items there will be, as far as that is known. Whoever reads them tells it, at any time.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    /// Items in the source; `u64::MAX` while that is not known.
    in_source: AtomicU64,
    /// Of them, what the journal has already.
    passed_over: AtomicU64,
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers {
            in_source: AtomicU64::new(u64::MAX),
            passed_over: AtomicU64::new(0),
        }
    }
}

impl Expected {
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
