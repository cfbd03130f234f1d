//! Worker threads of this process. A thread cannot be killed: it ends after its work, or is left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::Mutex;

use super::local::LocalWorker;
use super::pool::Pool;
use super::status::{PoolStatus, Roster, RosterEntry, RunState, Stage, WorkerDeath, WorkerInfo};
use crate::broker::current;
use crate::broker::{Attachment, Broker};
use crate::error::Kind;
use crate::handler::attempt::Wanted;
use crate::handler::{copies, held};
use crate::link::local::{LocalQueue, LocalReader};
use crate::link::thread;
use crate::observe::EventKind;
use crate::payload::Payload;
use dishrack_core::ledger::{Credit, HolderId, Outcome, Started};
use dishrack_core::pool::restart::Window;
use dishrack_core::pool::spec::{ChildSpec, Restart};

/// The plan of a pool of this process.
#[derive(Debug, Clone)]
pub(super) struct ThreadPlan {
    pub(super) names: Vec<String>,
    pub(super) spec: ChildSpec,
}

/// The state that the threads of one pool share.
#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) broker: Arc<Broker>,
    roster: Roster,
    holders: Mutex<Vec<HolderId>>,
    running: AtomicUsize,
    /// True once the queue was told that these workers are gone.
    is_ended: AtomicBool,
    grace: Duration,
    /// Disconnected when the pool is asked to stop.
    stopping: Receiver<()>,
    /// The same, for code that does not wait.
    is_stopping: Arc<AtomicBool>,
}

impl PoolState {
    /// Notes that one worker ended for good; the last one ends the pool.
    pub(super) fn one_ended(&self, slot: usize, why: &str, is_spent: bool) {
        self.roster.with(|roster| roster.entries.remove(&slot));
        let (order, less) = (Ordering::AcqRel, |running: usize| running.checked_sub(1));
        // Under one lock, so that all others are counted out when the last one ends the pool and its
        // stop. One that was counted out later would have items charged for what the stop did.
        let running = self.broker.with(|core| {
            let running = self.running.fetch_update(order, Ordering::Acquire, less);
            core.workers_change(0, usize::from(running.is_ok()));
            running
        });
        // None is left where they could not be started.
        if running == Ok(1) {
            self.end(why, is_spent);
        }
    }

    /// Gives the deliveries of the workers' places back, because there will be no threads.
    pub(super) fn fail(&self) {
        self.end("they could not be started", true);
        let running = self.running.swap(0, Ordering::AcqRel);
        self.broker.with(|core| core.workers_change(0, running));
        for holder in self.holders.lock().iter() {
            self.broker.detach(*holder, Started::default(), None);
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
            if self.is_stopping.load(Ordering::Acquire) {
                core.stop_is_over();
            }
        });
    }
}

#[derive(Debug)]
pub(super) struct ThreadPool {
    shared: Arc<PoolState>,
    stop: Mutex<Option<Sender<()>>>,
    /// Disconnected when all threads have ended.
    over: Receiver<()>,
}

/// Makes the pool, the state that its workers share, and the guard that each holds until it ends.
pub(super) fn begin(
    plan: &ThreadPlan,
    broker: &Arc<Broker>,
) -> (ThreadPool, Arc<PoolState>, Sender<()>) {
    let (stop, stopping) = crossbeam_channel::bounded(0);
    let (alive, over) = crossbeam_channel::bounded(0);
    let shared = Arc::new(PoolState {
        broker: Arc::clone(broker),
        roster: roster_of(plan),
        holders: Mutex::default(),
        running: AtomicUsize::new(plan.names.len()),
        is_ended: AtomicBool::new(false),
        grace: plan.spec.shutdown,
        stopping,
        is_stopping: Arc::default(),
    });
    copies::mark();
    broker.with(|core| core.pool_began(plan.names.len()));
    let pool = ThreadPool {
        shared: Arc::clone(&shared),
        stop: Mutex::new(Some(stop)),
        over,
    };
    (pool, shared, alive)
}

fn roster_of(plan: &ThreadPlan) -> Roster {
    let entry = |name: &String| RosterEntry {
        name: name.as_str().into(),
        pid: std::process::id(),
        stage: Stage::Ready,
        since: Instant::now(),
        holder: None,
        restarts: 0,
        last_death: None,
    };
    let roster = Roster::default();
    roster.with(|state| {
        state.wanted = plan.names.len();
        state.entries = plan.names.iter().map(entry).enumerate().collect();
    });
    roster
}

impl ThreadPool {
    pub(super) fn of_handlers(
        plan: &ThreadPlan,
        broker: &Arc<Broker>,
        credit: Credit,
        item_type: &'static str,
        run: impl Fn(&[u8], Wanted) -> Outcome<Payload> + Send + Sync + 'static,
    ) -> Result<Self, Kind> {
        let (pool, shared, alive) = begin(plan, broker);
        let run = Arc::new(run);
        for (slot, name) in plan.names.iter().enumerate() {
            let (link, queue) = thread::pair();
            let holder = shared.attach(slot, name, Box::new(link), &queue, credit);
            let (shared, run, alive) = (Arc::clone(&shared), Arc::clone(&run), alive.clone());
            let body = move || {
                let broker = &shared.broker;
                current::set(Arc::clone(broker), item_type);
                let worker = LocalWorker::new(Arc::clone(broker), holder, queue);
                serve(worker, &*run);
                current::clear();
                broker.detach(holder, Started::default(), None);
                shared.one_ended(slot, "they were stopped", false);
                // The waiting thread may want to open the queue's journal itself.
                drop((shared, run));
                drop(alive);
            };
            pool.spawn(name, body)?;
        }
        Ok(pool)
    }

    pub(super) fn of_loops(
        plan: &ThreadPlan,
        broker: &Arc<Broker>,
        run: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, Kind> {
        let (pool, shared, alive) = begin(plan, broker);
        let run = Arc::new(run);
        for (slot, name) in plan.names.iter().enumerate() {
            let mut life = LoopLife::new(slot, name, plan.spec);
            let (shared, run, alive) = (Arc::clone(&shared), Arc::clone(&run), alive.clone());
            let body = move || {
                shared.begin_loop(&life.worker);
                let end = loop {
                    let is_fine = catch_unwind(AssertUnwindSafe(|| run())).is_ok();
                    copies::end_copy();
                    if !is_fine {
                        held::charge_all();
                    }
                    match life.after(is_fine, &shared) {
                        Next::Over(end) => break end,
                        Next::Again(rest) => drop(shared.stopping.recv_timeout(rest)),
                    }
                };
                shared.one_ended(slot, &end.why, end.is_spent);
                drop((shared, run));
                drop(alive);
            };
            pool.spawn(name, body)?;
        }
        Ok(pool)
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Kind> {
        let thread = std::thread::Builder::new().name(name.to_owned());
        match thread.spawn(body) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.request_stop();
                self.shared.fail();
                Err(Kind::io("starting a worker thread")(error))
            }
        }
    }

    /// Gives up, because the workers could not be started.
    pub(super) fn fail(&self) {
        self.shared.fail();
    }

    fn request_stop(&self) {
        let stop = self.stop.lock().take();
        if stop.is_none() {
            return;
        }
        // Loops that sleep in a get wake, and are told that the queue is closed.
        self.shared.broker.with(|core| {
            self.shared.roster.with(|roster| {
                roster.state = RunState::Stopping;
                for entry in roster.entries.values_mut() {
                    (entry.stage, entry.since) = (Stage::Stopping, Instant::now());
                }
            });
            let was_stopping = self.shared.is_stopping.swap(true, Ordering::AcqRel);
            if !was_stopping && !self.shared.is_ended.load(Ordering::Acquire) {
                core.stop_begins();
            }
            core.wake_all();
        });
        let holders = self.shared.holders.lock();
        for holder in holders.iter() {
            self.shared.broker.ask_to_stop(*holder);
        }
    }
}

/// Runs the deliveries of a worker thread until it is asked to stop.
fn serve(mut worker: LocalWorker, run: &impl Fn(&[u8], Wanted) -> Outcome<Payload>) {
    loop {
        while let Some(job) = worker.begin_next() {
            let wanted = match job.is_awaited {
                true => Wanted::Here,
                false => Wanted::Not,
            };
            let outcome = run(&job.body, wanted);
            worker.end(job, outcome);
        }
        if worker.queue.is_stopping() {
            return;
        }
        if !worker.linger() {
            worker.sleep(None);
        }
    }
}

impl PoolState {
    pub(super) fn attach(
        &self,
        slot: usize,
        name: &str,
        link: Box<dyn crate::link::Link>,
        queue: &Arc<LocalQueue>,
        credit: Credit,
    ) -> HolderId {
        let attachment = Attachment {
            uplink: None,
            local: Some(LocalReader::new(Arc::clone(queue))),
            link,
            worker: name.into(),
            pid: std::process::id(),
            stderr: None,
            overseer: None,
        };
        let holder = self
            .broker
            .attach(attachment, Some(credit.seen()), u64::MAX);
        self.roster.with(|roster| {
            if let Some(entry) = roster.entries.get_mut(&slot) {
                entry.holder = Some(holder);
            }
        });
        self.holders.lock().push(holder);
        holder
    }

    fn note_restart(&self, slot: usize, is_fine: bool) {
        self.broker.with(|core| core.restarts += 1);
        self.roster.with(|roster| {
            if let Some(entry) = roster.entries.get_mut(&slot) {
                entry.restarts += 1;
                let cause = match is_fine {
                    true => "its loop returned",
                    false => "its loop panicked",
                };
                entry.last_death = Some(WorkerDeath {
                    at: SystemTime::now(),
                    cause: cause.into(),
                });
            }
        });
    }

    pub(super) fn report_started(&self, worker: &Arc<str>) {
        let what = EventKind::WorkerStarted {
            worker: Arc::clone(worker),
            pid: std::process::id(),
        };
        self.broker.read(|core| core.emitter.emit(what));
    }

    /// Begins a worker with a loop of its own, in its thread.
    pub(super) fn begin_loop(&self, worker: &Arc<str>) {
        current::end_when(Arc::clone(&self.is_stopping));
        self.report_started(worker);
    }
}

/// The restarts of a worker with a loop of its own.
#[derive(Debug)]
pub(super) struct LoopLife {
    pub(super) slot: usize,
    pub(super) worker: Arc<str>,
    spec: ChildSpec,
    began: Instant,
    window: Window,
}

/// The step after a loop's end.
pub(super) enum Next {
    /// Run the loop again after this rest.
    Again(Duration),
    Over(WorkerEnd),
}

/// The reason why a worker ended for good.
pub(super) struct WorkerEnd {
    pub(super) why: String,
    pub(super) is_spent: bool,
}

impl LoopLife {
    pub(super) fn new(slot: usize, worker: &str, spec: ChildSpec) -> Self {
        LoopLife {
            slot,
            worker: worker.into(),
            spec,
            began: Instant::now(),
            window: Window::default(),
        }
    }

    /// Decides after the loop returned (`is_fine`) or panicked. A panic with an item in hand is
    /// charged to the item, and the loop goes on at once; any other one counts against the worker.
    pub(super) fn after(&mut self, is_fine: bool, shared: &PoolState) -> Next {
        let over = |why: String, is_spent| Next::Over(WorkerEnd { why, is_spent });
        let charged = held::take_panics();
        let is_wanted = match self.spec.restart {
            Restart::Permanent => {
                !is_fine
                    || !shared
                        .broker
                        .read(|core| core.dispatcher.ledger.is_closed())
            }
            Restart::Transient => !is_fine,
            Restart::Temporary => false,
        };
        if shared.is_stopping.load(Ordering::Acquire) {
            return over("they were stopped".into(), false);
        }
        if !is_wanted {
            return over("they ended by themselves".into(), false);
        }
        let (intensity, period) = (self.spec.intensity, self.spec.period);
        let rest = match charged {
            0 => match self.window.note(self.began.elapsed(), intensity, period) {
                Some(recent) => self.spec.backoff.delay(recent, u64::from(recent)),
                None => return over(format!("{} was run again too often", self.worker), true),
            },
            _ => Duration::ZERO,
        };
        shared.note_restart(self.slot, is_fine);
        Next::Again(rest)
    }
}

impl Pool for ThreadPool {
    fn stop(&self) {
        self.request_stop();
        let ended = self.over.recv_timeout(self.shared.grace);
        if ended == Err(RecvTimeoutError::Timeout) {
            self.shared
                .end("they did not stop in the time given", false);
        }
    }

    fn kill(&self) {
        self.request_stop();
        self.shared.end("they were left behind", false);
    }

    fn workers(&self) -> Vec<WorkerInfo> {
        self.shared.roster.ready(&self.shared.broker)
    }

    fn status(&self) -> PoolStatus {
        self.shared.roster.status(&self.shared.broker)
    }
}
