//! The latest failed attempts of a run, kept for whoever asks: what failed, why, and whether it is tried
//! again. It costs nothing for items that succeed.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::item::clipped;
use crate::observe::{Event, EventKind, Observer, micros};
use dishrack_core::ledger::{Failure, ItemId};

/// The number of failures that are kept.
pub(super) const FAILURES_MAX: usize = 100;

/// A failed attempt, or the end of an item that was given up on.
#[derive(Debug)]
struct FailedAttempt {
    id: ItemId,
    item: String,
    /// `None` where it was given up on before any attempt.
    failure: Option<Arc<Failure>>,
    is_dead: bool,
}

/// The latest ones, the last at the end.
#[derive(Debug, Default)]
pub(super) struct LatestFailures(Mutex<VecDeque<FailedAttempt>>);

impl LatestFailures {
    /// Returns so many of them, the latest first.
    pub(super) fn latest(&self, limit: usize) -> Value {
        let failures = self.0.lock();
        failures.iter().rev().take(limit).map(object).collect()
    }

    fn keep(&self, failed: FailedAttempt) {
        let mut failures = self.0.lock();
        if failures.len() == FAILURES_MAX {
            failures.pop_front();
        }
        failures.push_back(failed);
    }
}

impl Observer for LatestFailures {
    fn wants_items(&self) -> bool {
        false
    }

    fn observe(&self, event: Event) {
        match event.kind {
            EventKind::Retry { id, item, failure } => self.keep(FailedAttempt {
                id,
                item,
                failure: Some(failure),
                is_dead: false,
            }),
            EventKind::Dead { id, item, history } => self.keep(FailedAttempt {
                id,
                item,
                failure: history.last().cloned().map(Arc::new),
                is_dead: true,
            }),
            _ => {}
        }
    }
}

fn object(failed: &FailedAttempt) -> Value {
    let failure = failed.failure.as_ref();
    let scene = failure.map(|failure| &failure.scene);
    let begun = scene.filter(|scene| !scene.worker.is_empty());
    json!({
        "number": failed.id.0,
        "item": clipped(&failed.item),
        "attempt": failure.map_or(0, |failure| failure.attempt),
        "cause": failure.map(|failure| clipped(&failure.cause.to_string())),
        "worker": begun.map(|scene| &scene.worker),
        "ended_us": scene.map(|scene| micros(scene.ended)),
        "dead": failed.is_dead,
    })
}
