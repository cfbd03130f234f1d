//! Which views are to be ticked, and when. What they show then is theirs.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::view::View;
use crate::ledger::Counts;

/// When which view is ticked next, in the order of the views.
pub(super) struct Ticks(Vec<Option<Instant>>);

impl Ticks {
    pub(super) fn of(views: &[Box<dyn View>]) -> Self {
        let now = Instant::now();
        let pauses = views.iter().map(|view| view.pause());
        Ticks(pauses.map(|pause| Some(now + pause?)).collect())
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    pub(super) fn tick_those_due(&mut self, views: &mut [Box<dyn View>], counts: &Mutex<Counts>) {
        let Some(next) = self.next() else {
            return;
        };
        let now = Instant::now();
        if next > now {
            return;
        }
        let counts = *counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (view, at) in views.iter_mut().zip(&mut self.0) {
            if at.is_some_and(|at| at <= now) {
                view.tick(&counts);
                *at = view.pause().map(|pause| now + pause);
            }
        }
    }

    pub(super) fn tick_all(&self, views: &mut [Box<dyn View>], counts: &Mutex<Counts>) {
        let counts = *counts.lock().unwrap_or_else(PoisonError::into_inner);
        let ticked = views.iter_mut().zip(&self.0).filter(|(_, at)| at.is_some());
        ticked.for_each(|(view, _)| view.tick(&counts));
    }
}
