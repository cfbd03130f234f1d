//! Whoever steers the run: pauses it and lets it go on.

use dishrack_core::ledger::HolderId;

use super::{World, note};
use crate::planted::Plant;

impl World {
    /// Steers now and then, in every other world.
    pub(super) fn steer(&mut self) {
        if !self.plan.is_steered {
            return;
        }
        match self.whims.below(60) {
            0 => self.pause(),
            1 | 2 => self.unpause(),
            _ => {}
        }
    }

    fn pause(&mut self) {
        note!(self, "the run is to be paused");
        self.life.dispatcher.ledger.handle_pause();
    }

    pub(super) fn unpause(&mut self) {
        if self.life.dispatcher.ledger.is_paused() {
            note!(self, "the run goes on");
        }
        self.life.is_pause_told = false;
        self.life.dispatcher.ledger.handle_unpause();
    }

    /// Tells that the pause is there, once nothing is begun any more. From then on a process that
    /// begins an item breaks a promise.
    pub(super) fn check_pause(&mut self) {
        if !self.life.dispatcher.ledger.is_paused() || self.life.is_pause_told {
            return;
        }
        let is_early = self.is_planted(Plant::EarlyPause);
        let mut holders = self.life.slots.iter().filter_map(|slot| slot.holder);
        if is_early || !holders.any(|holder| self.has_unbegun(holder)) {
            note!(self, "the pause is told");
            self.coverage.pauses_told += 1;
            self.coverage.pauses_with_work += u64::from(self.life.dispatcher.ledger.busy() > 0);
            self.life.is_pause_told = true;
        }
    }

    fn has_unbegun(&self, holder: HolderId) -> bool {
        let index = self.life.slot_of(holder).expect("it has a slot");
        let slot = &self.life.slots[index];
        let alive = slot.process.as_ref().map(|process| process.last_begun);
        let begun = alive.unwrap_or(slot.last_begun);
        self.life.dispatcher.ledger.has_unbegun(holder, begun)
    }
}
