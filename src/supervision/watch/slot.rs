//! A worker's slot: its lives so far, and the state of the present one.

use std::sync::Arc;
use std::time::Instant;

use crate::protocol::ring_pair::RingPair;
use crate::supervision::notes::{ChangeSender, Life, Registration};
use crate::supervision::status::{DeathCause, EndedWorker, Stage, WorkerDeath};
use crate::sys::delegated::BoundedGroup;
use crate::sys::stderr::Stderr;
use dishrack_core::ledger::Exit;
use dishrack_core::pool::child::Child;
use dishrack_core::pool::memory::MemoryLimiter;
use dishrack_core::pool::restart::RestartCause;
use dishrack_core::pool::watchdog::{Fault, Watchdog};

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    pub(super) child: Child,
    pub(super) life: u64,
    pub(super) pid: Option<u32>,
    pub(super) exit: Exit,
    pub(super) registration: Registration,
    pub(super) ring_pair: Option<Arc<RingPair>>,
    /// The reason why its channel was given up, if it was.
    pub(super) complaint: Option<String>,
    /// True if it was ordered from the fork server and is taken for never born.
    pub(super) is_lost: bool,
    /// True if it must be killed as soon as its pid is known.
    pub(super) is_kill_due: bool,
    pub(super) has_begun: bool,
    /// Its time limits; `None` until it is ready.
    pub(super) watchdog: Option<Watchdog>,
    /// Its limit of memory, if it has one; `None` until it is ready.
    pub(super) memory: Option<MemoryLimiter>,
    /// Its group, where the kernel holds it to that limit.
    pub(super) group: Option<BoundedGroup>,
    pub(super) stderr: Option<Arc<Stderr>>,
    /// True if this supervisor killed it, so that the SIGKILL is not the kernel's.
    pub(super) is_killed: bool,
    /// The stage that the program is told of, and its beginning.
    pub(super) stage: Stage,
    pub(super) since: Instant,
    /// The number of times that it was started again, not counting replacements.
    pub(super) restarts: u64,
    pub(super) last_death: Option<WorkerDeath>,
    /// The end of its last life.
    pub(super) ended: Option<EndedWorker>,
    /// True if it is not wanted any more.
    pub(super) is_leaving: bool,
    /// True if it is replaced because it has reached a bound.
    pub(super) is_recycled: bool,
    /// The callers that wait for the end of its process.
    pub(super) enders: Vec<ChangeSender>,
}

impl Slot {
    pub(super) fn new(name: String, child: Child) -> Self {
        Slot {
            name: name.into(),
            child,
            life: 0,
            pid: None,
            exit: Exit::Unknown,
            registration: Registration::default(),
            ring_pair: None,
            complaint: None,
            is_lost: false,
            is_kill_due: false,
            has_begun: false,
            watchdog: None,
            memory: None,
            group: None,
            stderr: None,
            is_killed: false,
            stage: Stage::Starting,
            since: Instant::now(),
            restarts: 0,
            last_death: None,
            ended: None,
            is_leaving: false,
            is_recycled: false,
            enders: Vec::new(),
        }
    }

    /// Gives the slot to a new worker, without a past.
    pub(super) fn renew(&mut self, child: Child) {
        *self = Slot {
            name: Arc::clone(&self.name),
            // News of an earlier life stays out of date.
            life: self.life + 1,
            ..Slot::new(String::new(), child)
        };
    }

    /// Begins a new life, without anything of the last one. Returns the cause of a restart that
    /// counts.
    pub(super) fn begin(&mut self) -> Option<RestartCause> {
        let cause = self.restart_cause();
        self.life += 1;
        self.pid = None;
        self.exit = Exit::Unknown;
        self.complaint = None;
        self.is_lost = false;
        self.is_kill_due = false;
        let fault = self.watchdog.take().and_then(|watchdog| watchdog.fault());
        // It was ended for an item that is cancelled, a copy that is not needed, or on an order: no accident.
        let is_wished = matches!(fault, Some(Fault::Revoked(_) | Fault::Ordered));
        self.memory = None;
        self.group = None;
        self.is_killed = false;
        let is_recycled = std::mem::take(&mut self.is_recycled);
        let is_restart = std::mem::replace(&mut self.has_begun, true);
        self.restarts += u64::from(is_restart && !is_recycled && !is_wished);
        Some(cause).filter(|_| is_restart && !is_wished)
    }

    /// Returns why it is started again.
    fn restart_cause(&self) -> RestartCause {
        match self.last_death.as_ref().map(|death| &death.cause) {
            _ if self.is_recycled => RestartCause::Recycled,
            // The last death that was noted is an earlier one.
            _ if self.exit.is_success() => RestartCause::Exit,
            Some(DeathCause::Process { cause, .. }) => RestartCause::of_death(cause),
            _ => RestartCause::Exit,
        }
    }

    pub(super) fn life(&self, slot: usize) -> Life {
        let number = self.life;
        Life { slot, number }
    }
}
