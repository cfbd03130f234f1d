//! The times at which views are ticked. It does not know what they show.

use std::io;
use std::time::Instant;

use parking_lot::Mutex;

use super::view::View;
use crate::Counts;

/// The number of events between two looks at the clock, while events come without a pause.
const EVENTS_PER_LOOK: u32 = 32;

/// The next tick of each view, in the order of the views.
pub(super) struct Ticks {
    next: Vec<Option<Instant>>,
    /// Events since the last look at the clock.
    events: u32,
}

impl Ticks {
    pub(super) fn of(views: &[Box<dyn View>]) -> Self {
        let now = Instant::now();
        let pauses = views.iter().map(|view| view.pause());
        Ticks {
            next: pauses.map(|pause| Some(now + pause?)).collect(),
            events: 0,
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next.iter().flatten().min().copied()
    }

    /// Counts an event.
    pub(super) fn count(
        &mut self,
        views: &mut [Box<dyn View>],
        counts: &Mutex<Counts>,
    ) -> io::Result<()> {
        self.events += 1;
        match self.events >= EVENTS_PER_LOOK {
            true => self.tick_those_due(views, counts),
            false => Ok(()),
        }
    }

    pub(super) fn tick_those_due(
        &mut self,
        views: &mut [Box<dyn View>],
        counts: &Mutex<Counts>,
    ) -> io::Result<()> {
        self.events = 0;
        let Some(next) = self.next() else {
            return Ok(());
        };
        let now = Instant::now();
        if next > now {
            return Ok(());
        }
        let counts = *counts.lock();
        for (view, at) in views.iter_mut().zip(&mut self.next) {
            if at.is_some_and(|at| at <= now) {
                view.tick(&counts)?;
                *at = view.pause().map(|pause| now + pause);
            }
        }
        Ok(())
    }

    pub(super) fn tick_all(
        &self,
        views: &mut [Box<dyn View>],
        counts: &Mutex<Counts>,
    ) -> io::Result<()> {
        let counts = *counts.lock();
        let ticked = views.iter_mut().zip(&self.next);
        let mut ticked = ticked.filter(|(_, at)| at.is_some());
        ticked.try_for_each(|(view, _)| view.tick(&counts))
    }
}
