//! Whoever steers the run: pauses it and lets it go on, changes the number of workers, and has all
//! of them replaced. The decisions (`Scaler`) are the real ones.

use dishrack_core::ledger::HolderId;
use dishrack_core::pool::child::{ChildEvent, Phase};
use dishrack_core::pool::scaler::{Scaler, ScalerEffect, Shortfall};

use super::{World, note};
use crate::planted::Plant;
use crate::slot::Slot;

impl World {
    /// Steers now and then, in every other world.
    pub(super) fn steer(&mut self) {
        if !self.plan.is_steered {
            return;
        }
        match self.whims.below(60) {
            0 => self.pause(),
            1 | 2 => self.unpause(),
            3 => {
                let workers = self.whims.index(5);
                self.scale(workers);
            }
            4 => self.reload(),
            _ => {}
        }
    }

    /// Asks for this many workers. Where items have copies, their number is not changed here.
    pub(super) fn scale(&mut self, workers: usize) {
        if self.policy().is_some() || self.life.is_pool_over() {
            return;
        }
        note!(self, "{workers} workers are asked for");
        self.life.scales += 1;
        self.change_workers(|scaler, is_idle| scaler.handle_scale(workers, is_idle));
    }

    fn reload(&mut self) {
        if self.policy().is_some() || self.life.is_pool_over() {
            return;
        }
        note!(self, "all workers are to be replaced");
        self.life.reloads += 1;
        self.life.reload_since = self.step;
        self.change_workers(|scaler, is_idle| scaler.handle_reload(is_idle));
    }

    /// Tells the scaler an event, and does what follows.
    pub(super) fn change_workers(
        &mut self,
        tell: impl FnOnce(&mut Scaler, &dyn Fn(usize) -> bool),
    ) {
        let ledger = &self.life.dispatcher.ledger;
        let is_idle = |slot: &Slot| slot.holder.is_none_or(|one| ledger.held_by(one) == 0);
        let idle: Vec<bool> = self.life.slots.iter().map(is_idle).collect();
        tell(&mut self.life.scaler, &|slot| {
            idle.get(slot).copied().unwrap_or(false)
        });
    }

    pub(super) fn follow_scaler(&mut self) {
        while let Some(effect) = self.life.scaler.poll() {
            note!(self, "scaler: {effect:?}");
            match effect {
                ScalerEffect::Start(slot) => self.slot(slot),
                ScalerEffect::Leave { slot, is_replaced } => {
                    self.coverage.replaced += u64::from(is_replaced);
                    self.coverage.left += u64::from(!is_replaced);
                    assert!(
                        !is_replaced || self.has_newcomer(),
                        "gone before another came"
                    );
                    self.life.slots[slot].is_leaving = true;
                    self.happen(slot, ChildEvent::DrainAsked);
                }
                ScalerEffect::Scaled(end) => {
                    self.life.scales -= 1;
                    self.scaled(end);
                }
                ScalerEffect::Reloaded(end) => {
                    self.life.reloads -= 1;
                    self.reloaded(end);
                }
            }
        }
    }

    fn slot(&mut self, slot: usize) {
        let jitter = self.seed.wrapping_add(slot as u64);
        let new = Slot::new(self.plan.spec, jitter, false);
        match self.life.slots.get_mut(slot) {
            Some(slot) => {
                assert!(slot.is_over && slot.holder.is_none(), "the slot is taken");
                *slot = new;
            }
            None => self.life.slots.push(new),
        }
        self.count_workers();
        self.happen(slot, ChildEvent::Begin);
    }

    /// Returns `true` if a worker is ready that was started for the reload.
    fn has_newcomer(&self) -> bool {
        let since = self.life.reload_since;
        let mut slots = self.life.slots.iter();
        slots.any(|slot| slot.child.phase() == Phase::Working && slot.born >= since)
    }

    fn scaled(&mut self, end: Result<usize, Shortfall>) {
        match end {
            Ok(workers) => {
                self.coverage.scaled += 1;
                let slots = self.life.slots.iter();
                let here = slots
                    .filter(|slot| !slot.is_over && !slot.is_leaving)
                    .count();
                assert!(here >= workers, "{here} of {workers}");
            }
            Err(Shortfall::Lost(_)) => self.coverage.scaled_short += 1,
            Err(Shortfall::Superseded | Shortfall::Stopped) => {}
            Err(Shortfall::NotThere) => panic!("no single worker was meant"),
        }
    }

    fn reloaded(&mut self, end: Result<(), Shortfall>) {
        match end {
            Ok(()) => {
                self.coverage.reloaded += 1;
                let slots = self.life.slots.iter();
                let mut alive = slots.filter(|slot| slot.process.is_some());
                let since = self.life.reload_since;
                assert!(alive.all(|slot| slot.born >= since), "one is an old one");
            }
            Err(Shortfall::Lost(_)) => self.coverage.reloaded_short += 1,
            Err(Shortfall::Superseded | Shortfall::Stopped) => {}
            Err(Shortfall::NotThere) => panic!("no single worker was meant"),
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
        let alive = slot.process.as_ref().map(|process| process.board);
        let begun = alive.unwrap_or(slot.board).begun;
        self.life.dispatcher.ledger.has_unbegun(holder, begun)
    }
}
