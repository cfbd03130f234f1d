//! Several copies of an item: the time at which more are due, and the number of workers that may
//! take one. The ledger decides.

use std::sync::Arc;

use super::core::Core;
use super::product::{Comparison, Disagreement};
use crate::observe::EventKind;
use dishrack_core::ledger::{Cause, Copies, Scene};

/// The reason why a queue on a stream has no copies.
pub(crate) const NONE_ON_A_STREAM: &str = "cannot be made of items on Redis, where each has one \
                                           holder at a time: use a local queue, or a journal";

/// The number of disagreements that are kept, of the last ones.
const DISAGREEMENTS_MAX: usize = 1000;

/// Says that fewer workers are there than copies must agree.
pub(super) fn too_few(needed: u32, workers: usize) -> String {
    match workers {
        1 => format!("{needed} copies must agree, and there is 1 worker"),
        workers => format!("{needed} copies must agree, and there are {workers} workers"),
    }
}

impl Core {
    /// Keeps a disagreement until it is taken.
    pub(super) fn keep_disagreement(&mut self, one: Disagreement) {
        if self.disagreements.len() == DISAGREEMENTS_MAX {
            self.disagreements.pop_front();
        }
        self.disagreements.push_back(one);
    }

    pub(crate) fn take_disagreements(&mut self) -> Vec<Disagreement> {
        std::mem::take(&mut self.disagreements).into()
    }

    /// Tells the ledger the time, where that matters for what it hands out, and gives up what is overdue.
    pub(super) fn note_time(&mut self) {
        let ledger = &mut self.dispatcher.ledger;
        if ledger.needs_time() || ledger.is_timed() {
            let now = self.emitter.now();
            ledger.handle_timeout(now);
            while let Some(id) = ledger.poll_overdue(now) {
                let scene = Scene::ended_at(self.emitter.now_unix());
                ledger.handle_condemned(id, Cause::DeadlinePassed, scene);
            }
        }
    }

    /// Notes that workers came, or that some will not be started again.
    pub(crate) fn workers_change(&mut self, came: usize, went: usize) {
        self.workers = (self.workers + came).saturating_sub(went);
        let now = self.emitter.now();
        self.dispatcher.ledger.handle_workers(self.workers, now);
    }

    /// Returns the number of workers that are there or will be, of all pools.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Returns the reason why so many copies can never agree with the workers that there are, if
    /// there are some.
    pub(crate) fn cannot_agree(&self, copies: Copies) -> Option<String> {
        let is_short = self.workers > 0 && self.workers < copies.needed() as usize;
        is_short.then(|| too_few(copies.needed(), self.workers))
    }

    /// Says once that what is left cannot end with so few workers.
    pub(super) fn tell_lack(&mut self) {
        let lack = self.dispatcher.lack();
        let lack = lack.map(|(needed, workers)| too_few(needed, workers));
        if let Some(why) = lack.clone().filter(|_| self.lack.is_none()) {
            self.emitter.emit(EventKind::NoWorkersLeft { why });
            self.wake_all();
        }
        self.lack = lack;
    }

    /// Sets the copies of each item that does not choose for itself.
    pub(crate) fn set_copies(&mut self, copies: Copies) {
        self.dispatcher.ledger.handle_policy(Some(copies));
    }

    /// Sets the way in which results are compared.
    pub(crate) fn set_comparison(&mut self, comparison: Arc<Comparison>) {
        self.comparison = Some(comparison);
    }
}
