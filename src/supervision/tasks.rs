//! Async tasks of this process, on one thread with a tokio runtime: the chapter's event loops.

use std::any::type_name;
use std::fmt::Display;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crossbeam_channel::Sender;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::LocalSet;

use super::local::LocalWorker;
use super::pool::Pool;
use super::threads::{LoopLife, Next, PoolState, ThreadPlan, ThreadPool, begin};
use super::{PoolStatus, WorkerInfo};
use crate::broker::Broker;
use crate::broker::current;
use crate::error::Kind;
use crate::handler::attempt::{Wanted, decode, encode, message_of};
use crate::handler::copies;
use crate::link::LocalDelivery;
use crate::link::task::{self, TaskSignals};
use crate::payload::Payload;
use dishrack_core::ledger::{Cause, Credit, Outcome, Started};

/// A pool of threads, except for the place where its workers run.
#[derive(Debug)]
pub(super) struct TaskPool(ThreadPool);

impl TaskPool {
    pub(super) fn of_handlers<T, R, E, F, Fut>(
        plan: &ThreadPlan,
        broker: &Arc<Broker>,
        credit: Credit,
        time_limit: Option<Duration>,
        handler: F,
    ) -> Result<Self, Kind>
    where
        F: Fn(T) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + 'static,
        T: DeserializeOwned + 'static,
        R: Serialize + 'static,
        E: Display + 'static,
    {
        let (pool, shared, alive) = begin(plan, broker);
        let mut workers = Vec::new();
        for (slot, name) in plan.names.iter().enumerate() {
            let (link, queue, signals) = task::pair();
            let holder = shared.attach(slot, name, Box::new(link), &queue, credit);
            let worker = LocalWorker::new(Arc::clone(broker), holder, queue);
            workers.push((slot, worker, signals, holder));
        }
        let handler = Arc::new(handler);
        let last = alive.clone();
        run_on_one_thread(&pool, last, move |tasks| {
            current::set(Arc::clone(&shared.broker), type_name::<T>());
            for (slot, worker, signals, holder) in workers {
                let (shared, handler, alive) =
                    (Arc::clone(&shared), Arc::clone(&handler), alive.clone());
                tasks.spawn_local(async move {
                    serve(worker, &signals, time_limit, &*handler).await;
                    shared.broker.detach(holder, Started::default(), None);
                    shared.one_ended(slot, "they were stopped", false);
                    drop(alive);
                });
            }
        })?;
        Ok(TaskPool(pool))
    }

    pub(super) fn of_loops<F, Fut>(
        plan: &ThreadPlan,
        broker: &Arc<Broker>,
        run: F,
    ) -> Result<Self, Kind>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let (pool, shared, alive) = begin(plan, broker);
        let life = |(slot, name): (usize, &String)| LoopLife::new(slot, name, plan.spec);
        let lives: Vec<LoopLife> = plan.names.iter().enumerate().map(life).collect();
        let last = alive.clone();
        run_on_one_thread(&pool, last, move |tasks| {
            let run = Rc::new(run);
            for mut life in lives {
                let (shared, run, alive): (Arc<PoolState>, _, _) =
                    (Arc::clone(&shared), Rc::clone(&run), alive.clone());
                tasks.spawn_local(async move {
                    shared.begin_loop(&life.worker);
                    let end = loop {
                        let is_fine = catch(async { run().await }).await.is_ok();
                        match life.after(is_fine, &shared) {
                            Next::Over(end) => break end,
                            Next::Again(rest) => tokio::time::sleep(rest).await,
                        }
                    };
                    shared.one_ended(life.slot, &end.why, end.is_spent);
                    drop(alive);
                });
            }
        })?;
        Ok(TaskPool(pool))
    }
}

impl Pool for TaskPool {
    fn stop(&self) {
        self.0.stop();
    }

    fn kill(&self) {
        self.0.kill();
    }

    fn workers(&self) -> Vec<WorkerInfo> {
        self.0.workers()
    }

    fn status(&self) -> PoolStatus {
        self.0.status()
    }
}

fn run_on_one_thread(
    pool: &ThreadPool,
    alive: Sender<()>,
    begin: impl FnOnce(&LocalSet) + Send + 'static,
) -> Result<(), Kind> {
    spawn_thread(alive, begin).inspect_err(|_| pool.fail())
}

fn spawn_thread(
    alive: Sender<()>,
    begin: impl FnOnce(&LocalSet) + Send + 'static,
) -> Result<(), Kind> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Kind::io("making a tokio runtime"))?;
    let thread = std::thread::Builder::new().name("dishrack-tasks".into());
    let spawned = thread.spawn(move || {
        let tasks = LocalSet::new();
        begin(&tasks);
        runtime.block_on(tasks);
        drop(runtime);
        current::clear();
        // Nothing of the queue is held any more.
        drop(alive);
    });
    spawned
        .map(drop)
        .map_err(Kind::io("starting the thread of the tasks"))
}

async fn serve<T, R, E, F, Fut>(
    mut worker: LocalWorker,
    signals: &TaskSignals,
    time_limit: Option<Duration>,
    handler: &F,
) where
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<R, E>>,
    T: DeserializeOwned,
    R: Serialize,
    E: Display + 'static,
{
    while let Some(job) = next(&mut worker, signals).await {
        let revoked = signals.revoked(job.token);
        let wanted = match job.is_awaited {
            true => Wanted::Here,
            false => Wanted::Not,
        };
        let outcome = match decode(&job.body) {
            // It is dropped where it waits when its time is over or it was cancelled.
            Ok(item) => {
                first_of(
                    within(
                        time_limit,
                        catch(async { encode(handler(item).await, wanted) }),
                    ),
                    async {
                        revoked.await;
                        Outcome::Returned
                    },
                )
                .await
            }
            Err(cause) => Outcome::failed(cause),
        };
        let token = job.token;
        worker.end(job, outcome);
        signals.forget(token);
    }
}

/// Begins the next delivery, when there is one; `None` when the worker is asked to stop. It does
/// not poll, because other tasks of the thread may have something to do.
async fn next(worker: &mut LocalWorker, signals: &TaskSignals) -> Option<LocalDelivery> {
    loop {
        if let Some(job) = worker.begin_next() {
            return Some(job);
        }
        if worker.queue.is_stopping() {
            return None;
        }
        if !worker.come_to_rest() {
            // The task is woken by another way than by the doorbell itself.
            let _ = worker.queue.doorbell().want();
            if !worker.queue.has_news() {
                signals.arrived().await;
            }
        }
    }
}

/// Returns the outcome of an attempt with a time limit.
async fn within(
    limit: Option<Duration>,
    attempt: impl Future<Output = Result<Outcome<Payload>, String>>,
) -> Outcome<Payload> {
    let outcome = match limit {
        None => attempt.await,
        Some(limit) => match tokio::time::timeout(limit, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => return Outcome::failed(Cause::TimedOut(limit)),
        },
    };
    outcome.unwrap_or_else(|message| Outcome::failed(Cause::Panicked(message)))
}

/// Returns the first result of two; the other future is dropped.
async fn first_of<V>(one: impl Future<Output = V>, other: impl Future<Output = V>) -> V {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(move |context| match one.as_mut().poll(context) {
        Poll::Pending => other.as_mut().poll(context),
        ready => ready,
    })
    .await
}

/// Runs a future; a panic in it becomes an error.
async fn catch<V>(future: impl Future<Output = V>) -> Result<V, String> {
    let mut future = pin!(future);
    poll_fn(move |context| {
        let poll = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        copies::end_copy();
        match poll {
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(message_of(&*panic))),
        }
    })
    .await
}
