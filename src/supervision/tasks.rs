//! Async tasks of this process, on one thread with a tokio runtime: the chapter's event loops.

use std::any::type_name;
use std::fmt::Display;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::coop::consume_budget;
use tokio::task::{LocalSet, spawn_local};

use super::local::LocalWorker;
use super::local_pool::{LocalPlan, PoolState, Post, Starter};
use super::pool::Pool;
use super::threads::{LoopLife, Next, ThreadPool};
use super::{PoolStatus, WorkerInfo};
use crate::broker::{Broker, Deadline, ThreadGuard, current};
use crate::error::Kind;
use crate::handler::attempt::{Wanted, decode, encode};
use crate::handler::copies;
use crate::link::LocalDelivery;
use crate::link::task::{self, TaskSignals};
use crate::payload::Payload;
use crate::sys::threads::message_of;
use dishrack_core::ledger::{Cause, Credit, Outcome, Started};

/// A pool of threads, except for the place where its workers run.
#[derive(Debug)]
pub(super) struct TaskPool(ThreadPool);

/// Begins a worker, on the thread of the tasks.
type TaskStart = Box<dyn FnOnce() + Send>;

impl TaskPool {
    pub(super) fn of_handlers<T, R, E, F, Fut>(
        plan: &LocalPlan,
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
        let works_for = Some((Arc::clone(broker), type_name::<T>()));
        let (starts, over) = run_on_one_thread(works_for, broker.guard())?;
        let handler = Arc::new(handler);
        let starter: Starter = Box::new(move |shared: &Arc<PoolState>, post: Post| {
            let (link, queue, signals) = task::pair();
            let holder = shared.attach(&post.worker, Box::new(link), &queue, credit);
            let worker = LocalWorker::new(Arc::clone(&shared.broker), holder, queue);
            let (pool, handler) = (Arc::clone(shared), Arc::clone(&handler));
            start(&starts, shared.broker.guard(), move || async move {
                serve(worker, &signals, time_limit, &*handler).await;
                drop(handler);
                pool.broker.detach(holder, Started::default(), None);
                pool.one_ended(post.slot, "they were stopped", false);
            });
            Ok(Some(holder))
        });
        let shared = PoolState::begin(plan, broker, starter)?;
        Ok(TaskPool(ThreadPool::of(shared, over)))
    }

    pub(super) fn of_loops<F, Fut>(
        plan: &LocalPlan,
        broker: &Arc<Broker>,
        run: F,
    ) -> Result<Self, Kind>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let (starts, over) = run_on_one_thread(None, broker.guard())?;
        let run = Arc::new(run);
        let starter: Starter = Box::new(move |shared: &Arc<PoolState>, post: Post| {
            let (pool, run) = (Arc::clone(shared), Arc::clone(&run));
            let mut life = LoopLife::new(post, shared.spec);
            let is_to_end = Arc::clone(&life.post.is_to_end);
            let work = move || async move {
                pool.begin_loop(&life.post);
                let end = loop {
                    let is_fine = catch(async { run().await }).await.is_ok();
                    match life.after(is_fine, &pool) {
                        Next::Over(end) => break end,
                        Next::Again(rest) => tokio::time::sleep(rest).await,
                    }
                };
                drop(run);
                pool.one_ended(life.post.slot, &end.why, end.is_spent);
            };
            let guard = shared.broker.guard();
            start(&starts, guard, move || until_told(is_to_end, work()));
            Ok(None)
        });
        let shared = PoolState::begin(plan, broker, starter)?;
        Ok(TaskPool(ThreadPool::of(shared, over)))
    }
}

impl Pool for TaskPool {
    fn stop(&self) {
        self.0.stop();
    }

    fn kill(&self) {
        self.0.kill();
    }

    fn scale(&self, workers: usize, deadline: Deadline) -> Result<(), Kind> {
        self.0.scale(workers, deadline)
    }

    fn reload(&self, deadline: Deadline) -> Result<(), Kind> {
        self.0.reload(deadline)
    }

    fn end_worker(&self, name: &str) -> Result<(), Kind> {
        self.0.end_worker(name)
    }

    fn replace_worker(&self, name: &str) -> Result<(), Kind> {
        self.0.replace_worker(name)
    }

    fn workers(&self) -> Vec<WorkerInfo> {
        self.0.workers()
    }

    fn wait_until_over(&self, deadline: Deadline) -> bool {
        self.0.wait_until_over(deadline)
    }

    fn status(&self) -> PoolStatus {
        self.0.status()
    }
}

/// Starts a worker on the thread of the tasks. The handler's panics are caught in it; any other one ends
/// the queue.
fn start<Fut: Future<Output = ()> + 'static>(
    starts: &UnboundedSender<TaskStart>,
    guard: ThreadGuard,
    work: impl FnOnce() -> Fut + Send + 'static,
) {
    let begin = move || {
        spawn_local(async move {
            if let Err(text) = catch(work()).await {
                guard.end(format!("a task panicked: {text}"));
            }
        });
    };
    // The thread takes them for as long as there is a starter, which has this end.
    let _ = starts.send(Box::new(begin));
}

/// Starts the thread of the tasks. It ends when no more will be started and all have ended, and
/// then the channel that is returned is disconnected. Handlers work for the queue that is given.
fn run_on_one_thread(
    works_for: Option<(Arc<Broker>, &'static str)>,
    guard: ThreadGuard,
) -> Result<(UnboundedSender<TaskStart>, Receiver<()>), Kind> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Kind::io("making a tokio runtime"))?;
    let (alive, over): (Sender<()>, _) = bounded(0);
    let (sender, starts) = unbounded_channel();
    let thread = std::thread::Builder::new().name("dishrack-tasks".into());
    let work = move || {
        if let Some((broker, item_type)) = works_for {
            current::set(broker, item_type);
        }
        let tasks = LocalSet::new();
        tasks.spawn_local(start_all(starts));
        runtime.block_on(tasks);
        drop(runtime);
        current::clear();
        // Nothing of the queue is held any more.
        drop(alive);
    };
    let spawned = thread.spawn(move || guard.run(work));
    spawned.map_err(Kind::io("starting the thread of the tasks"))?;
    Ok((sender, over))
}

async fn start_all(mut starts: UnboundedReceiver<TaskStart>) {
    while let Some(begin) = starts.recv().await {
        begin();
    }
}

/// Runs a loop. Whenever it is polled, a `get` in it ends if this is true: all tasks share a thread,
/// and each has its own end.
async fn until_told(is_to_end: Arc<AtomicBool>, work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    poll_fn(move |context| {
        current::end_when(Arc::clone(&is_to_end));
        work.as_mut().poll(context)
    })
    .await;
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
        // What it ends brings it the next one. So, with a handler that waits for nothing, it would
        // keep the thread for as long as there are items, and no other worker could begin or end.
        consume_budget().await;
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
