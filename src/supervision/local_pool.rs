//! The workers of this process as a pool: who is there, who is to end, and what is told of that.
//! Threads and tasks differ by how one of them is started, which a pool brings along.
//!
//! Two locks are taken one inside the other, always in this order: that of the workers, and the
//! queue's.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::changes;
use super::notes::ChangeSender;
use super::status::{
    DeathCause, PoolStatus, Roster, RosterEntry, RunState, Stage, WorkerDeath, WorkerInfo,
};
use crate::broker::{Attachment, Broker, Deadline, current};
use crate::error::Kind;
use crate::handler::copies;
use crate::link::Link;
use crate::link::local::{LocalQueue, LocalReader};
use crate::observe::EventKind;
use dishrack_core::ledger::{Credit, HolderId, Started};
use dishrack_core::pool::restart::RestartCause;
use dishrack_core::pool::scaler::{Scaler, ScalerEffect, Shortfall};
use dishrack_core::pool::spec::{ChildSpec, PoolName};

/// The plan of a pool of this process.
#[derive(Debug, Clone)]
pub(super) struct LocalPlan {
    pub(super) name: PoolName,
    pub(super) workers: usize,
    pub(super) spec: ChildSpec,
}

/// A worker that is to be started, and how it learns that it is to end.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) slot: usize,
    pub(super) worker: Arc<str>,
    /// True from then on.
    pub(super) is_to_end: Arc<AtomicBool>,
    /// Disconnected then, for one that rests.
    pub(super) leaves: Receiver<()>,
}

/// Starts a worker, and returns its place at the queue, if it has one.
pub(super) type Starter =
    Box<dyn Fn(&Arc<PoolState>, Post) -> Result<Option<HolderId>, Kind> + Send + Sync>;

/// A worker that was started.
#[derive(Debug)]
struct StartedWorker {
    holder: Option<HolderId>,
    is_to_end: Arc<AtomicBool>,
    /// Dropped when it is to end.
    rest: Option<Sender<()>>,
}

#[derive(Debug)]
struct LocalWorkers {
    scaler: Scaler,
    workers: BTreeMap<usize, StartedWorker>,
    /// The workers that the queue knows of.
    counted: usize,
    scales: VecDeque<ChangeSender>,
    reloads: VecDeque<ChangeSender>,
}

/// The state that the workers of one pool share.
pub(super) struct PoolState {
    pub(super) broker: Arc<Broker>,
    name: PoolName,
    pub(super) spec: ChildSpec,
    roster: Roster,
    scaler: Mutex<LocalWorkers>,
    /// Taken out when no worker will be started any more.
    starter: Mutex<Option<Starter>>,
    /// True once the queue was told that these workers are gone.
    is_ended: AtomicBool,
    is_stopping: AtomicBool,
}

impl fmt::Debug for PoolState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolState")
            .field("name", &self.name)
            .field("scaler", &self.scaler)
            .finish_non_exhaustive()
    }
}

impl PoolState {
    /// Begins a pool and starts its workers.
    ///
    /// # Errors
    /// One of them could not be started; those that were are asked to end.
    pub(super) fn begin(
        plan: &LocalPlan,
        broker: &Arc<Broker>,
        starter: Starter,
    ) -> Result<Arc<Self>, Kind> {
        copies::mark();
        broker.with(|core| core.pool_began(plan.workers));
        let pool = Arc::new(PoolState {
            broker: Arc::clone(broker),
            name: plan.name.clone(),
            spec: plan.spec,
            roster: Roster::default(),
            scaler: Mutex::new(LocalWorkers {
                scaler: Scaler::new(plan.workers),
                workers: BTreeMap::new(),
                counted: plan.workers,
                scales: VecDeque::new(),
                reloads: VecDeque::new(),
            }),
            starter: Mutex::new(Some(starter)),
            is_ended: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
        });
        pool.roster.with(|roster| roster.wanted = plan.workers);
        for slot in 0..plan.workers {
            let mut state = pool.scaler.lock();
            let started = pool.start(&mut state, slot);
            state.scaler.handle_ready(slot, |_| false);
            drop(state);
            if let Err(error) = started {
                pool.request_stop();
                pool.fail();
                return Err(error);
            }
        }
        Ok(pool)
    }

    /// Notes that a worker ended for good; the last one ends the pool.
    pub(super) fn one_ended(self: &Arc<Self>, slot: usize, why: &str, is_spent: bool) {
        // Under one lock, so that all others are counted out when the last one ends the pool and its
        // stop. One that was counted out later would have items charged for what the stop did.
        let mut state = self.scaler.lock();
        state.workers.remove(&slot);
        self.roster.with(|roster| roster.entries.remove(&slot));
        self.count_out(&mut state, 1);
        self.change(&mut state, |scaler, is_idle| {
            scaler.handle_over(slot, why, is_idle)
        });
        self.end_if_over(&state, why, is_spent);
    }

    fn end_if_over(&self, state: &LocalWorkers, why: &str, is_spent: bool) {
        if state.scaler.is_over() {
            self.end(why, is_spent);
        }
    }

    fn count_out(&self, state: &mut LocalWorkers, workers: usize) {
        let went = workers.min(state.counted);
        state.counted -= went;
        self.broker.with(|core| core.workers_change(0, went));
    }

    /// Gives the deliveries of all workers back, because there will be none.
    fn fail(&self) {
        self.end("they could not be started", true);
        let mut state = self.scaler.lock();
        let counted = state.counted;
        self.count_out(&mut state, counted);
        let holders = state.workers.values().filter_map(|one| one.holder);
        for holder in holders {
            self.broker.detach(holder, Started::default(), None);
        }
    }

    fn end(&self, why: &str, is_spent: bool) {
        self.broker.with(|core| {
            if self.is_ended.swap(true, Ordering::AcqRel) {
                return;
            }
            self.roster.with(|roster| {
                roster.state = RunState::Over;
                roster.entries.clear();
            });
            core.pool_ended(why, is_spent);
            if self.is_stopping() {
                core.stop_is_over();
            }
        });
        // What the program's own code has captured ends with the last worker.
        drop(self.starter.lock().take());
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Asks all workers to end, once.
    pub(super) fn request_stop(self: &Arc<Self>) {
        let mut state = self.scaler.lock();
        if self.is_stopping() {
            return;
        }
        for one in state.workers.values_mut() {
            one.is_to_end.store(true, Ordering::Release);
            one.rest.take();
        }
        self.broker.with(|core| {
            self.is_stopping.store(true, Ordering::Release);
            if !self.is_ended.load(Ordering::Acquire) {
                core.stop_begins();
            }
            // Loops that sleep in a get wake, and are told that the queue is closed.
            core.wake_all();
        });
        state.scaler.handle_stop();
        self.follow(&mut state);
        self.roster.with(|roster| {
            roster.state = RunState::Stopping;
            roster
                .entries
                .values_mut()
                .for_each(RosterEntry::is_to_stop);
        });
        for holder in state.workers.values().filter_map(|one| one.holder) {
            self.broker.ask_to_stop(holder);
        }
        self.end_if_over(&state, "they were stopped", false);
        drop(state);
        drop(self.starter.lock().take());
    }

    /// Ends the pool for the queue, whatever its workers still do.
    pub(super) fn give_up(&self, why: &str) {
        self.end(why, false);
    }

    pub(super) fn scale(self: &Arc<Self>, workers: usize, deadline: Deadline) -> Result<(), Kind> {
        let (told, end) = bounded(1);
        let mut state = self.scaler.lock();
        if self.is_ended.load(Ordering::Acquire) {
            drop(told);
        } else {
            state.scales.push_back(told);
            self.change(&mut state, |scaler, is_idle| {
                scaler.handle_scale(workers, is_idle)
            });
            self.roster.with(|roster| roster.wanted = workers);
            self.end_if_over(&state, "they could not be started", true);
        }
        drop(state);
        changes::wait("the number of workers", &end, deadline, &self.broker)
    }

    pub(super) fn reload(self: &Arc<Self>, deadline: Deadline) -> Result<(), Kind> {
        let (told, end) = bounded(1);
        let mut state = self.scaler.lock();
        if self.is_ended.load(Ordering::Acquire) {
            drop(told);
        } else {
            state.reloads.push_back(told);
            self.change(&mut state, |scaler, is_idle| scaler.handle_reload(is_idle));
        }
        drop(state);
        changes::wait("the workers", &end, deadline, &self.broker)
    }

    /// Replaces the worker of this name, and waits until that is done.
    pub(super) fn replace(self: &Arc<Self>, name: &str) -> Result<(), Kind> {
        let (told, end) = bounded(1);
        let mut state = self.scaler.lock();
        let slot = self.roster.with(|roster| {
            let mut entries = roster.entries.iter();
            let found = entries.find(|(_, entry)| *entry.name == *name);
            found.map(|(slot, _)| *slot)
        });
        let slot = slot.filter(|_| !self.is_ended.load(Ordering::Acquire));
        let Some(slot) = slot else {
            return Err(changes::not_made("the worker", Shortfall::NotThere));
        };
        state.reloads.push_back(told);
        let mut begun = Ok(());
        self.change(&mut state, |scaler, is_idle| {
            begun = scaler.handle_replace(slot, is_idle);
        });
        if let Err(shortfall) = begun {
            state.reloads.pop_back();
            return Err(changes::not_made("the worker", shortfall));
        }
        drop(state);
        changes::wait("the worker", &end, Deadline::Forever, &self.broker)
    }

    /// Tells the scaler an event, and does what follows.
    fn change(
        self: &Arc<Self>,
        state: &mut LocalWorkers,
        tell: impl FnOnce(&mut Scaler, &dyn Fn(usize) -> bool),
    ) {
        let workers = &state.workers;
        let is_idle = |slot: usize| {
            let holder = workers.get(&slot).and_then(|one| one.holder);
            holder.is_some_and(|holder| self.held_by(holder) == 0)
        };
        tell(&mut state.scaler, &is_idle);
        self.follow(state);
    }

    fn held_by(&self, holder: HolderId) -> usize {
        self.broker
            .read(|core| core.dispatcher.ledger.held_by(holder))
    }

    /// Does all that the scaler says.
    fn follow(self: &Arc<Self>, state: &mut LocalWorkers) {
        while let Some(effect) = state.scaler.poll() {
            match effect {
                ScalerEffect::Start(slot) => self.start_more(state, slot),
                ScalerEffect::Leave { slot, is_replaced } => self.leave(state, slot, is_replaced),
                ScalerEffect::Scaled(end) => {
                    if let Ok(workers) = end {
                        self.emit(EventKind::Scaled { workers });
                    }
                    answer(&mut state.scales, end.map(drop));
                }
                ScalerEffect::Reloaded(end) => answer(&mut state.reloads, end),
            }
        }
    }

    fn emit(&self, event: EventKind) {
        self.broker.read(|core| core.emitter.emit(event));
    }

    fn start_more(self: &Arc<Self>, state: &mut LocalWorkers, slot: usize) {
        state.counted += 1;
        self.broker.with(|core| core.workers_change(1, 0));
        match self.start(state, slot) {
            Ok(()) => state.scaler.handle_ready(slot, |_| false),
            Err(error) => {
                self.count_out(state, 1);
                state
                    .scaler
                    .handle_over(slot, &error.to_string(), |_| false);
            }
        }
    }

    fn start(self: &Arc<Self>, state: &mut LocalWorkers, slot: usize) -> Result<(), Kind> {
        let (rest, leaves) = bounded(0);
        let post = Post {
            slot,
            worker: self.name.of_worker(slot).into(),
            is_to_end: Arc::default(),
            leaves,
        };
        let (worker, is_to_end) = (Arc::clone(&post.worker), Arc::clone(&post.is_to_end));
        let starter = self.starter.lock();
        let Some(starter) = &*starter else {
            return Err(changes::not_made("the workers", Shortfall::Stopped));
        };
        let holder = starter(self, post)?;
        state.workers.insert(
            slot,
            StartedWorker {
                holder,
                is_to_end,
                rest: Some(rest),
            },
        );
        let entry = RosterEntry::ready(worker, holder);
        self.roster
            .with(|roster| roster.entries.insert(slot, entry));
        Ok(())
    }

    /// Lets a worker finish what it holds, and end.
    fn leave(&self, state: &mut LocalWorkers, slot: usize, is_replaced: bool) {
        let Some(one) = state.workers.get_mut(&slot) else {
            return;
        };
        self.roster.with(|roster| {
            let entry = roster.entries.get_mut(&slot);
            let Some(entry) = entry else {
                return;
            };
            entry.is_to_stop();
            if is_replaced {
                let (worker, pid) = (Arc::clone(&entry.name), entry.pid);
                let why = "a new one has taken its place".into();
                self.emit(EventKind::WorkerReplaced { worker, pid, why });
            }
        });
        one.is_to_end.store(true, Ordering::Release);
        one.rest.take();
        match one.holder {
            Some(holder) => self.broker.ask_to_stop(holder),
            None => self.broker.with(|core| core.wake_all()),
        }
    }

    pub(super) fn workers(&self) -> Vec<WorkerInfo> {
        self.roster.ready(&self.broker)
    }

    pub(super) fn status(&self) -> PoolStatus {
        self.roster.status(&self.broker)
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(super) fn attach(
        &self,
        worker: &Arc<str>,
        link: Box<dyn Link>,
        queue: &Arc<LocalQueue>,
        credit: Credit,
    ) -> HolderId {
        let attachment = Attachment {
            uplink: None,
            local: Some(LocalReader::new(Arc::clone(queue))),
            link,
            worker: Arc::clone(worker),
            pid: std::process::id(),
            stderr: None,
            overseer: None,
        };
        self.broker
            .attach(attachment, Some(credit.seen()), u64::MAX)
    }

    /// Begins a worker with a loop of its own, in its thread.
    pub(super) fn begin_loop(&self, post: &Post) {
        current::end_when(Arc::clone(&post.is_to_end));
        self.emit(EventKind::WorkerStarted {
            worker: Arc::clone(&post.worker),
            pid: std::process::id(),
        });
    }

    /// Notes that a loop is run again.
    pub(super) fn note_restart(&self, slot: usize, cause: DeathCause) {
        self.broker
            .with(|core| core.restarts.note(RestartCause::Exit));
        self.roster.with(|roster| {
            if let Some(entry) = roster.entries.get_mut(&slot) {
                entry.restarts += 1;
                entry.last_death = Some(WorkerDeath {
                    at: SystemTime::now(),
                    cause,
                });
            }
        });
    }

    pub(super) fn grace(&self) -> Duration {
        self.spec.shutdown
    }
}

fn answer(waiting: &mut VecDeque<ChangeSender>, end: Result<(), Shortfall>) {
    if let Some(told) = waiting.pop_front() {
        // Its caller may not wait any more.
        let _ = told.send(end);
    }
}

impl RosterEntry {
    fn ready(name: Arc<str>, holder: Option<HolderId>) -> Self {
        RosterEntry {
            name,
            pid: std::process::id(),
            stage: Stage::Ready,
            since: Instant::now(),
            holder,
            restarts: 0,
            last_death: None,
        }
    }

    fn is_to_stop(&mut self) {
        (self.stage, self.since) = (Stage::Stopping, Instant::now());
    }
}
