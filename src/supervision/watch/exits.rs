//! The end of a worker: its cause, the item that is charged with it, and the reports.

use std::sync::Arc;

use nix::libc;

use super::Watch;
use crate::observe::EventKind;
use crate::supervision::EndedWorker;
use dishrack_core::ledger::{Blame, Cause, Exit, Finding, Scene, Started};
use dishrack_core::pool::child::ChildEvent;
use dishrack_core::pool::watchdog::{Fault, Watchdog};

impl Watch {
    /// Returns the deliveries of a worker whose process and channel have ended, or charges them.
    pub(super) fn conclude(&mut self, index: usize) -> ChildEvent {
        let slot = &mut self.slots[index];
        let (exit, pid) = (slot.exit, slot.pid.take());
        let ring_pair = slot.ring_pair.take();
        let board = ring_pair.as_ref().map(|ring_pair| ring_pair.board());
        let name = Arc::clone(&slot.name);
        let registration = slot.registration.clone();
        // From now on its news is out of date.
        slot.life += 1;
        let holder = registration.end();
        self.leave_roster(index);
        let found = holder
            .zip(board)
            .map(|(holder, board)| self.broker.weigh(holder, board));
        let found = found.unwrap_or(Finding {
            started: Started::default(),
            is_sound: true,
        });
        let holding = holder.and_then(|holder| self.broker.name_of_started(holder, found.started));
        let current = found.started.current;
        self.note_group_kill(index, pid, current, holding.as_deref());
        self.hear_last_words(index);
        match holder {
            Some(_) => self.report_exit(index, pid, exit, holding),
            None => self.report_failed_start(index, pid, exit),
        }
        let mut charged = 0;
        let cause = holder.and_then(|_| self.cause_of_death(index, found, exit));
        self.note_death(index, cause.as_ref());
        if let Some(holder) = holder {
            let started = self.charged_of(index, found);
            let began_ns = board.map_or(0, |board| board.progress().0);
            let blame = cause.map(|cause| {
                let scene = self.scene_of_death(index, pid, began_ns);
                Blame { cause, scene }
            });
            charged = self.broker.detach(holder, started, blame.as_ref());
        }
        if let Some(why) = self.slots[index]
            .complaint
            .clone()
            .filter(|_| holder.is_some())
        {
            let worker = Arc::clone(&name);
            self.report(EventKind::WorkerFailed { worker, why });
        }
        let slot = &mut self.slots[index];
        for told in slot.enders.drain(..) {
            // Its caller may not wait any more.
            let _ = told.send(Ok(()));
        }
        if let Some(stderr) = slot.stderr.take() {
            stderr.end();
        }
        slot.ended = Some(EndedWorker {
            name: name.to_string(),
            pid: pid.unwrap_or(0),
            exit,
            complaint: slot.complaint.clone(),
        });
        ChildEvent::Concluded { exit, charged }
    }

    /// Reads the hidden stderr of a worker that never got ready, because it has the reason.
    fn hear_last_words(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let is_unheard = self.plan.launch.hides_stderr && slot.watchdog.is_none();
        if let Some(stderr) = slot.stderr.as_ref().filter(|_| is_unheard)
            && slot.complaint.is_none()
        {
            let words = stderr.take_tail();
            let line = words.lines().rfind(|line| !line.trim().is_empty());
            slot.complaint = line.map(str::to_owned);
        }
    }

    /// Returns the cause with which the worker's started items are charged, if they are.
    fn cause_of_death(&mut self, index: usize, found: Finding, exit: Exit) -> Option<Cause> {
        let slot = &self.slots[index];
        let is_killed = exit == Exit::Signaled(libc::SIGKILL);
        // The supervisor killed it because of the stop, which is no fault of its item.
        let is_wished = self.is_stopping || slot.is_recycled || slot.is_leaving;
        if is_wished && is_killed && slot.is_killed {
            return None;
        }
        if let Some(memory) = slot.memory.as_ref().filter(|_| found.is_sound)
            && let Some(ordinal) = memory.over()
        {
            // One that it began while it was being killed is not over the limit.
            let is_at_it = found.started.current == ordinal;
            return is_at_it.then_some(Cause::MemoryLimit(memory.limit()));
        }
        let fault = slot.watchdog.as_ref().and_then(Watchdog::fault);
        // A fault that an invalid scoreboard seemed to show does not count.
        if let Some(fault) = fault.filter(|_| found.is_sound) {
            let limit = self.plan.bounds.time_limit.unwrap_or_default();
            return match fault {
                Fault::Overran(ordinal) if found.started.current == ordinal => {
                    Some(Cause::TimedOut(limit))
                }
                // The worker had to end for another item than its current one.
                Fault::Overran(_) | Fault::Revoked(_) | Fault::Stalled => None,
                // What it was at is charged, as if somebody else had sent the signal.
                Fault::Ordered => Some(Cause::WorkerDied(exit)),
            };
        }
        let is_out_of_memory = self.oom.has_risen();
        if is_killed && !self.slots[index].is_killed && is_out_of_memory {
            return Some(Cause::OutOfMemory);
        }
        Some(Cause::WorkerDied(exit))
    }

    /// Returns the charged items. Of several in a loop's hands, only the oldest is over its limit.
    fn charged_of(&self, index: usize, found: Finding) -> Started {
        match self.slots[index]
            .watchdog
            .as_ref()
            .and_then(Watchdog::fault)
        {
            Some(Fault::Overran(ordinal)) if found.is_sound => Started {
                begun: ordinal,
                ..found.started
            },
            _ => found.started,
        }
    }

    fn scene_of_death(&self, index: usize, pid: Option<u32>, began_ns: u64) -> Scene {
        let slot = &self.slots[index];
        let stderr = slot.stderr.as_ref().map(|stderr| stderr.take_tail());
        self.broker.read(|core| {
            let ended = core.emitter.now_unix();
            let started = core.emitter.unix_of_ns(began_ns).min(ended);
            let scene = Scene::of_worker(slot.name.to_string(), pid.unwrap_or(0), started, ended);
            scene.with_stderr(stderr.unwrap_or_default())
        })
    }

    fn report_exit(&self, index: usize, pid: Option<u32>, exit: Exit, holding: Option<String>) {
        let Some(pid) = pid else {
            return;
        };
        let slot = &self.slots[index];
        let fault = slot.watchdog.as_ref().and_then(Watchdog::fault);
        let is_wished_for = matches!(fault, Some(Fault::Revoked(_) | Fault::Ordered));
        let what = EventKind::WorkerExited {
            worker: Arc::clone(&slot.name),
            pid,
            exit,
            holding,
            is_asked: self.is_stopping || slot.is_leaving || is_wished_for,
        };
        self.broker.read(|core| core.emitter.emit(what));
    }

    /// Reports a process that ended before it was a worker.
    pub(super) fn report_failed_start(&self, index: usize, pid: Option<u32>, exit: Exit) {
        let slot = &self.slots[index];
        if slot.is_leaving {
            return;
        }
        let why = match &slot.complaint {
            Some(complaint) if exit == Exit::Unknown => complaint.clone(),
            Some(complaint) => format!("{exit} ({complaint})"),
            None => exit.to_string(),
        };
        let worker = Arc::clone(&slot.name);
        self.report(EventKind::WorkerFailedToStart { worker, pid, why });
    }

    /// Reports an event, except while all workers are being stopped, because it is expected then.
    pub(super) fn report(&self, kind: EventKind) {
        if !self.is_stopping {
            self.broker.read(|core| core.emitter.emit(kind));
        }
    }
}
