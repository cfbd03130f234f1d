//! Keeps the roster that the program reads: each worker's stage, process and last death.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::{RosterEntry, Stage, Watch};
use crate::supervision::{DeathCause, WorkerDeath};
use dishrack_core::ledger::Cause;
use dishrack_core::pool::child::Phase;
use dishrack_core::pool::watchdog::{Fault, Watchdog};

impl Watch {
    /// Enters what is known of a worker now, or strikes it out when it is over.
    pub(super) fn enter_in_roster(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let holder = slot.registration.holder();
        let stage = match slot.child.phase() {
            Phase::Resting | Phase::Booting => Stage::Starting,
            Phase::Dying if holder.is_none() => Stage::Starting,
            Phase::Working => Stage::Ready,
            Phase::Stopping | Phase::Dying => Stage::Stopping,
            Phase::Over => {
                let ended = slot.ended.clone();
                self.roster.with(|roster| {
                    roster.entries.remove(&index);
                    if let Some(ended) = ended {
                        roster.ended.insert(index, ended);
                    }
                });
                return;
            }
        };
        if std::mem::replace(&mut slot.stage, stage) != stage {
            slot.since = Instant::now();
        }
        let entry = RosterEntry {
            name: Arc::clone(&slot.name),
            pid: slot.pid.unwrap_or(0),
            stage,
            since: slot.since,
            holder,
            restarts: slot.restarts,
            last_death: slot.last_death.clone(),
        };
        self.roster.with(|roster| {
            roster.ended.remove(&index);
            roster.entries.insert(index, entry);
        });
    }

    /// Strikes out a worker that has ended, before anything is told of its end: who hears of its
    /// item must not find it among the workers.
    pub(super) fn leave_roster(&mut self, index: usize) {
        self.roster.with(|roster| {
            if let Some(entry) = roster.entries.get_mut(&index) {
                (entry.stage, entry.pid, entry.holder) = (Stage::Starting, 0, None);
            }
        });
    }

    /// Notes a worker's end, if it was not asked for: with the cause that its item is charged with,
    /// if there is one.
    pub(super) fn note_death(&mut self, index: usize, cause: Option<&Cause>) {
        let slot = &mut self.slots[index];
        let fault = slot.watchdog.as_ref().and_then(Watchdog::fault);
        let is_wished = slot.is_recycled || slot.is_leaving || fault == Some(Fault::Ordered);
        if self.is_stopping || is_wished || slot.exit.is_success() {
            return;
        }
        let cause = cause.cloned().unwrap_or(Cause::WorkerDied(slot.exit));
        let complaint = slot.complaint.clone();
        slot.last_death = Some(WorkerDeath {
            at: SystemTime::now(),
            cause: DeathCause::Process { cause, complaint },
        });
    }
}
