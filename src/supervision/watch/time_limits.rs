//! Looks after living workers: time limits, cancelled items, replacement.

use std::sync::Arc;
use std::time::Duration;

use super::slot::Slot;
use super::{Watch, key_of};
use crate::observe::EventKind;
use crate::supervision::notes::{ChangeSender, Life};
use dishrack_core::ledger::Started;
use dishrack_core::pool::child::{ChildEvent, Phase};
use dishrack_core::pool::scaler::Shortfall;
use dishrack_core::pool::watchdog::{Fault, Sample, Watchdog, WatchdogEffect};

impl Watch {
    /// Begins to hold a ready worker's items to their time limits.
    pub(super) fn begin_watchdog(&mut self, index: usize) {
        let bounds = self.plan.bounds;
        let watchdog = Watchdog::new(bounds.time_limit, bounds.time_limit_grace, self.now());
        self.slots[index].watchdog = Some(watchdog);
    }

    /// Returns the time of the next look at a worker.
    pub(super) fn next_round(&self) -> Option<Duration> {
        let slots = self.slots.iter();
        let watchdogs = slots.filter_map(|slot| slot.watchdog.as_ref());
        watchdogs.filter_map(Watchdog::poll_timeout).min()
    }

    /// Looks at all workers whose time has come.
    pub(super) fn make_round(&mut self) {
        let now = self.now();
        for index in 0..self.slots.len() {
            let watchdog = self.slots[index].watchdog.as_ref();
            let is_due = watchdog
                .and_then(Watchdog::poll_timeout)
                .is_some_and(|at| at <= now);
            if is_due {
                self.watchdog(index, |watchdog, sample| watchdog.observe(sample, now));
            }
        }
    }

    /// Handles the cancellation of a delivery that this worker may be at.
    pub(super) fn revoke(&mut self, life: Life, ordinal: u64, is_spare: bool) {
        let now = self.now();
        self.watchdog(life.slot, |watchdog, sample| match is_spare {
            true => watchdog.revoke_spare(ordinal, sample, now),
            false => watchdog.revoke(ordinal, sample, now),
        });
    }

    /// Asks a worker to end, and kills it after the grace of a time limit.
    pub(super) fn end_worker(&mut self, name: &str, told: ChangeSender) {
        // Without a watchdog it is not ready, or has just ended.
        let is_it =
            |slot: &Slot| *slot.name == *name && slot.watchdog.is_some() && slot.pid.is_some();
        let Some(index) = self.slots.iter().position(is_it) else {
            // Its caller may not wait any more.
            let _ = told.send(Err(Shortfall::NotThere));
            return;
        };
        self.slots[index].enders.push(told);
        let now = self.now();
        self.watchdog(index, |watchdog, _| watchdog.end(now));
    }

    /// Replaces a worker that has reached a bound.
    pub(super) fn recycle(&mut self, index: usize) {
        // A loop may have ended by itself when it got nothing more.
        if matches!(
            self.slots[index].child.phase(),
            Phase::Working | Phase::Dying
        ) {
            let slot = &mut self.slots[index];
            slot.is_recycled = true;
            let (worker, pid) = (Arc::clone(&slot.name), slot.pid.unwrap_or(0));
            let why = "has done as much, or has as much memory, as a worker may".into();
            self.report(EventKind::WorkerReplaced { worker, pid, why });
            self.happen(index, ChildEvent::RecycleAsked);
        }
    }

    fn watchdog(
        &mut self,
        index: usize,
        look: impl FnOnce(&mut Watchdog, Sample) -> Option<WatchdogEffect>,
    ) {
        let sample = self.sample(index);
        let slot = &mut self.slots[index];
        let key = key_of(slot.life(index));
        let Some(watchdog) = slot.watchdog.as_mut() else {
            return;
        };
        match look(watchdog, sample) {
            None => {}
            Some(WatchdogEffect::Terminate) => {
                if let Some(Fault::Overran(ordinal)) = watchdog.fault() {
                    self.report_time_limit(index, ordinal);
                }
                self.excuse(index);
                self.reaper.terminate(key);
            }
            Some(WatchdogEffect::Kill) => {
                slot.is_killed = true;
                if watchdog.fault() == Some(Fault::Stalled) {
                    let limit = self.plan.bounds.time_limit.unwrap_or_default();
                    slot.complaint = Some(format!("began none of its items within {limit:?}"));
                } else {
                    self.excuse(index);
                }
                self.reaper.kill(key);
            }
        }
    }

    fn report_time_limit(&self, index: usize, current: u64) {
        let slot = &self.slots[index];
        let started = Started::at(current);
        let holder = slot.registration.holder();
        let item = holder.and_then(|holder| self.broker.name_of_started(holder, started));
        if let Some(item) = item {
            let (worker, pid) = (Arc::clone(&slot.name), slot.pid.unwrap_or(0));
            self.report(EventKind::TimeLimit { item, worker, pid });
        }
    }

    /// Excuses the slot, because the worker ends for an item, or on a request.
    fn excuse(&mut self, index: usize) {
        self.happen(index, ChildEvent::Excused);
    }

    fn sample(&self, index: usize) -> Sample {
        let slot = &self.slots[index];
        let Some(ring_pair) = &slot.ring_pair else {
            return Sample::default();
        };
        let board = ring_pair.board();
        // In this order, a newer delivery's time is never taken for an older one's.
        let current = board.read().current;
        let (since_ns, begun) = board.progress();
        let held = slot.registration.holder();
        Sample {
            current,
            since: self.clock.at(Duration::from_nanos(
                since_ns.saturating_sub(self.origin_ns),
            )),
            begun,
            held: held.map_or(0, |holder| {
                self.broker
                    .read(|core| core.dispatcher.ledger.due_from(holder))
            }),
        }
    }
}
