//! Carries out what the scaler decides: workers that come and go, because their number is changed or
//! all are replaced. It keeps the callers that wait for that.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::Watch;
use super::slot::Slot;
use crate::fail;
use crate::observe::EventKind;
use crate::supervision::notes::ChangeSender;
use dishrack_core::pool::child::{Child, ChildEvent, Phase};
use dishrack_core::pool::scaler::{Scaler, ScalerEffect, Shortfall};

/// The callers that wait for a change, first come first.
#[derive(Debug, Default)]
pub(super) struct PendingChanges {
    scales: VecDeque<ChangeSender>,
    reloads: VecDeque<ChangeSender>,
}

/// Decides the jitter of the rests in a slot.
pub(super) fn seed_of_slot(index: usize) -> u64 {
    index as u64 ^ u64::from(std::process::id()) << 32
}

impl Watch {
    pub(super) fn scale(&mut self, workers: usize, told: ChangeSender) {
        fail::point("scale: asked");
        self.changes.scales.push_back(told);
        self.change(|scaler, is_idle| scaler.handle_scale(workers, is_idle));
        let wanted = self.scaler.wanted();
        self.roster.with(|roster| roster.wanted = wanted);
    }

    pub(super) fn reload(&mut self, told: ChangeSender) {
        fail::point("reload: asked");
        self.changes.reloads.push_back(told);
        self.change(|scaler, is_idle| scaler.handle_reload(is_idle));
    }

    pub(super) fn replace(&mut self, name: &str, told: ChangeSender) {
        let slot = self.slots.iter().position(|slot| *slot.name == *name);
        let mut begun = Err(Shortfall::NotThere);
        if let Some(slot) = slot {
            self.changes.reloads.push_back(told.clone());
            self.change(|scaler, is_idle| begun = scaler.handle_replace(slot, is_idle));
            if begun.is_err() {
                self.changes.reloads.pop_back();
            }
        }
        if begun.is_err() {
            // Its caller may not wait any more.
            let _ = told.send(begun);
        }
    }

    /// Starts a worker for the first time, unless it is not wanted any more.
    pub(super) fn begin(&mut self, index: usize) {
        if !self.slots[index].has_begun {
            self.happen(index, ChildEvent::Begin);
        }
    }

    pub(super) fn start_counted(&mut self, index: usize) -> io::Result<()> {
        self.scaler.handle_restart(index);
        self.start(index)
    }

    /// Notes that a worker is ready, unless that was heard only after its boot had failed.
    pub(super) fn note_ready(&mut self, index: usize) {
        if self.slots[index].child.phase() != Phase::Working {
            return;
        }
        self.change(|scaler, is_idle| scaler.handle_ready(index, is_idle));
    }

    pub(super) fn leave_pool(&mut self, index: usize, why: &str) {
        self.change(|scaler, is_idle| scaler.handle_over(index, why, is_idle));
    }

    /// Tells the scaler an event. While nothing is changed it does not ask who is idle.
    fn change(&mut self, tell: impl FnOnce(&mut Scaler, &dyn Fn(usize) -> bool)) {
        let is_changing = !self.changes.scales.is_empty() || !self.changes.reloads.is_empty();
        let idle = match is_changing {
            true => self.idle_slots(),
            false => Vec::new(),
        };
        let is_idle = |slot: usize| idle.get(slot).copied().unwrap_or(false);
        tell(&mut self.scaler, &is_idle);
    }

    fn idle_slots(&self) -> Vec<bool> {
        let holders = self.slots.iter().map(|slot| slot.registration.holder());
        let holders: Vec<_> = holders.collect();
        self.broker.read(|core| {
            let ledger = &core.dispatcher.ledger;
            let is_idle = |holder| ledger.held_by(holder) == 0;
            holders
                .into_iter()
                .map(|one| one.is_none_or(is_idle))
                .collect()
        })
    }

    /// Does all that the scaler says.
    pub(super) fn follow_scaler(&mut self) {
        while let Some(effect) = self.scaler.poll() {
            match effect {
                ScalerEffect::Start(slot) => self.slot(slot),
                ScalerEffect::Leave { slot, is_replaced } => self.vacate(slot, is_replaced),
                ScalerEffect::Scaled(end) => {
                    fail::point("scale: end");
                    if let Ok(workers) = end {
                        self.report(EventKind::Scaled { workers });
                    }
                    if let Some(told) = self.changes.scales.pop_front() {
                        // Its caller may not wait any more.
                        let _ = told.send(end.map(drop));
                    }
                }
                ScalerEffect::Reloaded(end) => {
                    fail::point("reload: end");
                    if let Some(told) = self.changes.reloads.pop_front() {
                        let _ = told.send(end);
                    }
                }
            }
        }
    }

    /// Gives a slot to a new worker.
    fn slot(&mut self, index: usize) {
        let child = Child::new(self.plan.spec, seed_of_slot(index));
        match self.slots.get_mut(index) {
            Some(slot) => slot.renew(child),
            None => {
                let name = self.plan.name.of_worker(index);
                self.slots.push(Slot::new(name, child));
            }
        }
        self.unstarted.push_back(index);
        self.enter_in_roster(index);
    }

    /// Lets a worker finish what it holds, and end.
    fn vacate(&mut self, index: usize, is_replaced: bool) {
        fail::point("leave: asked");
        let slot = &mut self.slots[index];
        slot.is_leaving = true;
        let (worker, pid) = (Arc::clone(&slot.name), slot.pid.unwrap_or(0));
        if is_replaced {
            let why = "a new one has taken its place".to_owned();
            self.report(EventKind::WorkerReplaced { worker, pid, why });
        }
        self.happen(index, ChildEvent::DrainAsked);
    }
}
