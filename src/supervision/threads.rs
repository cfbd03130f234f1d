//! Worker threads of this process. A thread cannot be killed: it ends after its work, or is left.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::local::LocalWorker;
use super::local_pool::{LocalPlan, PoolState, Post, Starter};
use super::pool::Pool;
use super::{DeathCause, PoolStatus, WorkerInfo};
use crate::broker::{Broker, Deadline, current};
use crate::error::Kind;
use crate::handler::attempt::Wanted;
use crate::handler::{copies, held};
use crate::link::thread;
use crate::payload::Payload;
use crate::supervision::limits;
use dishrack_core::ledger::{Credit, Outcome, Started};
use dishrack_core::pool::restart::Window;
use dishrack_core::pool::spec::{ChildSpec, Restart};

/// The pool as its program sees it. Tasks have the same.
#[derive(Debug)]
pub(super) struct ThreadPool {
    shared: Arc<PoolState>,
    /// Disconnected when all threads have ended and none will be started.
    over: Receiver<()>,
}

impl ThreadPool {
    /// Makes a pool; `over` says when its last thread has ended.
    pub(super) fn of(shared: Arc<PoolState>, over: Receiver<()>) -> Self {
        ThreadPool { shared, over }
    }

    pub(super) fn of_handlers(
        plan: &LocalPlan,
        broker: &Arc<Broker>,
        credit: Credit,
        item_type: &'static str,
        run: impl Fn(&[u8], Wanted) -> Outcome<Payload> + Send + Sync + 'static,
    ) -> Result<Self, Kind> {
        let (alive, over) = bounded::<()>(0);
        let run = Arc::new(run);
        let starter: Starter = Box::new(move |shared, post| {
            let (link, queue) = thread::pair();
            let holder = shared.attach(&post.worker, Box::new(link), &queue, credit);
            let (run, alive) = (Arc::clone(&run), alive.clone());
            let pool = Arc::clone(shared);
            let (slot, worker) = (post.slot, post.worker);
            let body = move || {
                let broker = &pool.broker;
                current::set(Arc::clone(broker), item_type);
                serve(LocalWorker::new(Arc::clone(broker), holder, queue), &*run);
                current::clear();
                broker.detach(holder, Started::default(), None);
                // What the program's own code has captured may be in this thread's hands alone.
                drop(run);
                pool.one_ended(slot, "they were stopped", false);
                // The waiting thread may want to open the queue's journal itself.
                drop(pool);
                drop(alive);
            };
            let spawned = spawn(&worker, &shared.broker, body);
            if spawned.is_err() {
                shared.broker.detach(holder, Started::default(), None);
            }
            spawned.map(|()| Some(holder))
        });
        let shared = PoolState::begin(plan, broker, starter)?;
        Ok(ThreadPool::of(shared, over))
    }

    pub(super) fn of_loops(
        plan: &LocalPlan,
        broker: &Arc<Broker>,
        run: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, Kind> {
        let (alive, over) = bounded::<()>(0);
        let run = Arc::new(run);
        let starter: Starter = Box::new(move |shared, post| {
            let mut life = LoopLife::new(post, shared.spec);
            let (run, alive) = (Arc::clone(&run), alive.clone());
            let pool = Arc::clone(shared);
            let worker = Arc::clone(&life.post.worker);
            let body = move || {
                pool.begin_loop(&life.post);
                let end = loop {
                    let is_fine = catch_unwind(AssertUnwindSafe(|| run())).is_ok();
                    copies::end_copy();
                    if !is_fine {
                        held::charge_all();
                    }
                    match life.after(is_fine, &pool) {
                        Next::Over(end) => break end,
                        Next::Again(rest) => drop(life.post.leaves.recv_timeout(rest)),
                    }
                };
                drop(run);
                pool.one_ended(life.post.slot, &end.why, end.is_spent);
                drop(pool);
                drop(alive);
            };
            spawn(&worker, &shared.broker, body).map(|()| None)
        });
        let shared = PoolState::begin(plan, broker, starter)?;
        Ok(ThreadPool::of(shared, over))
    }
}

/// Starts a thread. The handler's panics are caught in it; any other one ends the queue.
fn spawn(
    name: &str,
    broker: &Arc<Broker>,
    body: impl FnOnce() + Send + 'static,
) -> Result<(), Kind> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    let guard = broker.guard();
    let spawned = thread.spawn(move || guard.run(body));
    spawned
        .map(drop)
        .map_err(Kind::io("starting a worker thread"))
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

/// The restarts of a worker with a loop of its own.
#[derive(Debug)]
pub(super) struct LoopLife {
    pub(super) post: Post,
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
    pub(super) fn new(post: Post, spec: ChildSpec) -> Self {
        LoopLife {
            post,
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
        if self.post.is_to_end.load(Ordering::Acquire) {
            return over("they were stopped".into(), false);
        }
        if !is_wanted {
            return over("they ended by themselves".into(), false);
        }
        let (intensity, period) = (self.spec.intensity, self.spec.period);
        let rest = match charged {
            0 => match self.window.note(self.began.elapsed(), intensity, period) {
                Some(recent) => self.spec.backoff.delay(recent, u64::from(recent)),
                None => {
                    let why = format!("{} was run again too often", self.post.worker);
                    return over(why, true);
                }
            },
            _ => Duration::ZERO,
        };
        let cause = match is_fine {
            true => DeathCause::LoopReturned,
            false => DeathCause::LoopPanicked,
        };
        shared.note_restart(self.post.slot, cause);
        Next::Again(rest)
    }
}

impl Pool for ThreadPool {
    fn stop(&self) {
        self.shared.request_stop();
        let ended = self.over.recv_timeout(self.shared.grace());
        if ended == Err(RecvTimeoutError::Timeout) {
            self.shared.give_up("they did not stop in the time given");
        }
    }

    fn kill(&self) {
        self.shared.request_stop();
        self.shared.give_up("they were left behind");
    }

    fn scale(&self, workers: usize, deadline: Deadline) -> Result<(), Kind> {
        limits::check_scale(workers)?;
        self.shared.scale(workers, deadline)
    }

    fn reload(&self, deadline: Deadline) -> Result<(), Kind> {
        self.shared.reload(deadline)
    }

    fn end_worker(&self, _: &str) -> Result<(), Kind> {
        let why = "a thread or a task cannot be ended alone: replace it, and it finishes what it has begun";
        Err(Kind::invalid("end_worker", why))
    }

    fn replace_worker(&self, name: &str) -> Result<(), Kind> {
        self.shared.replace(name)
    }

    fn workers(&self) -> Vec<WorkerInfo> {
        self.shared.workers()
    }

    fn wait_until_over(&self, deadline: Deadline) -> bool {
        self.shared.roster().wait_until_over(deadline)
    }

    fn status(&self) -> PoolStatus {
        self.shared.status()
    }
}
